"""OpenAI's own schema, where it lies beside the checkout, and the parameters that it lists."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

PATH = Path(__file__).parents[2] / "shared/openai/openapi-subset.json"

SHARED_PARAMETERS = frozenset(
    {"frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model", "n", "presence_penalty"}
    | {"seed", "stop", "stream", "stream_options", "temperature", "top_p", "user"}
)
SPEC_PARAMETERS = {
    "ChatCompletionRequest": SHARED_PARAMETERS
    | {"audio", "function_call", "functions", "max_completion_tokens", "messages", "metadata"}
    | {"modalities", "moderation", "parallel_tool_calls", "prediction", "prompt_cache_key"}
    | {"prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "response_format"}
    | {"safety_identifier", "service_tier", "store", "tool_choice", "tools", "top_logprobs"}
    | {"verbosity", "web_search_options"},
    "CompletionRequest": SHARED_PARAMETERS | {"best_of", "echo", "prompt", "suffix"},
}


@cache
def spec() -> dict[str, Any]:
    """Return the document as JSON Schema has it: `nullable` spelt out."""
    document: dict[str, Any] = _spelt_out(json.loads(PATH.read_text()))
    # OpenAI's completion streams send null for both before their end; its schema forgets to say.
    completion = document["components"]["schemas"]["CreateCompletionResponse"]["properties"]
    choice = completion["choices"]["items"]["properties"]
    choice["finish_reason"] = {"anyOf": [choice["finish_reason"], {"type": "null"}]}
    completion["usage"] = {"anyOf": [completion["usage"], {"type": "null"}]}
    return document


def violations(schema: str, instance: Any) -> list[str]:
    """Return how an instance departs from one of the schemas."""
    errors = _validator(schema).iter_errors(instance)
    return [f"{schema} {error.json_path}: {error.message}" for error in errors]


def parameters(schema: str) -> set[str]:
    """Return the names of the properties of a schema and of all that it is made of."""
    node = spec()["components"]["schemas"][schema]
    names = set(node.get("properties", ()))
    for member in node.get("allOf", ()):
        names |= set(member.get("properties", ()))
        names |= parameters(member["$ref"].rpartition("/")[2]) if "$ref" in member else set()
    return names


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**spec(), "$ref": f"#/components/schemas/{schema}"})


def _spelt_out(node: Any) -> Any:
    if isinstance(node, list):
        return [_spelt_out(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {key: _spelt_out(value) for key, value in node.items() if key != "nullable"}
    return {"anyOf": [inner, {"type": "null"}]} if node.get("nullable") is True else inner
