"""The tool call formats by name."""

from collections.abc import Mapping

from gateway.output.tools.hermes import HermesParser
from gateway.output.tools.json_calls import GuidedJsonParser, JsonParser
from gateway.output.tools.keyword_calls import PythonicParser
from gateway.output.tools.llama import LlamaParser
from gateway.output.tools.parser import CallParser

PARSERS: Mapping[str, type[CallParser]] = {
    "hermes": HermesParser,
    "guided_json": GuidedJsonParser,
    "json": JsonParser,
    "llama3_json": LlamaParser,
    "llama3_pythonic": PythonicParser,
}


def default_parser_for(template_name: str) -> str:
    """Return the format that models prompted with a template write."""
    if template_name.startswith("llama-3"):
        return "llama3_json"
    return "hermes" if template_name in {"chatml", "hermes", "qwen"} else "json"
