"""Which grammar, if any, a request binds its answer to. One form at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from gateway.engine import Feature
from gateway.errors import InvalidRequest
from gateway.generation import Guide
from gateway.guides.calls import guide_beside, guide_for
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


class ChatForm(NamedTuple):
    """What an answer is bound to, the format of its calls, and what it is if it has none.

    `parser` is None where the answer is text; `told` is the JSON schema of an answer without calls
    where the model has to be told of it.
    """

    guide: Guide | None
    parser: str | None
    told: str = ""


def parse_guide(body: GenerationRequest, model: Model) -> Guide | None:
    """Return the guide of a text completion. Raises as `parse_chat_guide` does."""
    return _offered(_form(body), model)


def parse_chat_guide(
    body: ChatCompletionRequest,
    tools: Sequence[Tool],
    choice: ToolChoice,
    is_parallel: bool,
    model: Model,
) -> ChatForm:
    """Return what a chat's answer is bound to, and how calls in it are read.

    `tools` are those on offer. A call that must come is bound to the tools alone. Where the model
    decides, the answer is a call or has the form that was asked for; a form that is not JSON
    leaves no room for a call.

    Raises InvalidRequest for two forms at once, UnsupportedParameter where the engine has no
    guided decoding: a model that cannot be held to a form is never let loose instead.
    """
    form = _form(body)
    if calls := guide_for(tools, choice, is_parallel):
        return ChatForm(_offered(replace(calls, source="tool_choice"), model), "guided_json")
    if not tools or form is None:
        return ChatForm(_offered(form, model), model.tool_parser if tools else None)
    beside = guide_beside(tools, form, is_parallel)
    if beside is None:
        return ChatForm(_offered(form, model), None)
    return ChatForm(
        _offered(replace(beside, source=form.source), model), "guided_json", form.schema
    )


def _offered(guide: Guide | None, model: Model) -> Guide | None:
    if guide:
        model.require(Feature.GUIDED_DECODING, guide.source)
    return guide


def _form(body: GenerationRequest) -> Guide | None:
    """Return the form that a body asks for."""
    forms = [replace(guide, source=param) for param, guide in _requested(body)]
    if len(forms) > 1:
        first, second = forms[0].source, forms[1].source
        raise InvalidRequest(
            f"{first!r} and {second!r} both decide the answer's form: give one.", param=second
        )
    return forms[0] if forms else None


def _requested(body: GenerationRequest) -> Iterator[tuple[str, Guide]]:
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
