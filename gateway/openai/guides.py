"""Which grammar, if any, a request binds its answer to. One source at a time."""

from collections.abc import Iterator
from dataclasses import replace

from gateway.engine import Feature
from gateway.errors import InvalidRequest
from gateway.generation import Guide
from gateway.guides.calls import guide_for
from gateway.guides.forms import (
    choice_guide,
    grammar_guide,
    json_object_guide,
    json_schema_guide,
    regex_guide,
    structured_outputs_guide,
)
from gateway.models import Model
from gateway.openai.parts import ResponseFormat
from gateway.openai.schemas import ChatCompletionRequest, GenerationRequest
from gateway.output.tools.choice import ToolChoice
from gateway.prompt.conversation import Tool

Source = tuple[str, Guide]


def parse_guide(body: GenerationRequest, model: Model) -> Guide | None:
    """Return the guide of a text completion. Raises as `parse_chat_guide` does."""
    return _only(list(_requested(body)), model)


def parse_chat_guide(
    body: ChatCompletionRequest, tools: tuple[Tool, ...], choice: ToolChoice, model: Model
) -> Guide | None:
    """Return the guide of a chat: what was asked for, or what makes a tool call certain.

    Raises InvalidRequest for two at once, UnsupportedParameter where the engine has no guided
    decoding: a model that cannot be held to a form is never let loose instead.
    """
    calls = guide_for(tools, choice, body.parallel_tool_calls is not False)
    forced = [("tool_choice", calls)] if calls else []
    return _only([*_requested(body), *forced], model)


def _only(sources: list[Source], model: Model) -> Guide | None:
    if not sources:
        return None
    param, guide = sources[0]
    if len(sources) > 1:
        raise InvalidRequest(
            f"{param!r} and {sources[1][0]!r} both decide the answer's form: give one.",
            param=sources[1][0],
        )
    model.require(Feature.GUIDED_DECODING, param)
    return replace(guide, source=param)


def _requested(body: GenerationRequest) -> Iterator[Source]:
    if body.response_format and body.response_format.type != "text":
        yield "response_format", _format_guide(body.response_format)
    if body.guided_json is not None:
        yield "guided_json", json_schema_guide(body.guided_json, "guided_json")
    if body.guided_regex is not None:
        yield "guided_regex", regex_guide(body.guided_regex, "guided_regex")
    if body.guided_grammar is not None:
        yield "guided_grammar", grammar_guide(body.guided_grammar, "guided_grammar")
    if body.guided_choice is not None:
        yield "guided_choice", choice_guide(body.guided_choice, "guided_choice")
    if body.structured_outputs is not None:
        yield (
            "structured_outputs",
            structured_outputs_guide(body.structured_outputs, "structured_outputs"),
        )


def _format_guide(response_format: ResponseFormat) -> Guide:
    if response_format.type == "json_object":
        return json_object_guide()
    param = "response_format.json_schema"
    if response_format.json_schema is None:
        raise InvalidRequest(f"{param!r} is required.", param=param)
    if response_format.json_schema.json_schema is None:
        return json_object_guide()
    return json_schema_guide(response_format.json_schema.json_schema, f"{param}.schema")
