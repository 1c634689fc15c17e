"""Which form, if any, a request binds its answer to. One at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from gateway.engine import Feature
from gateway.errors import InvalidRequest
from gateway.guides.calls import call_form, form_beside, strict_form
from gateway.guides.forms import (
    Form,
    choice_form,
    grammar_form,
    json_object_form,
    json_schema_form,
    regex_form,
    structured_outputs_form,
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

    form: Form | None
    parser: str | None
    told: str = ""


def parse_form(body: GenerationRequest, model: Model) -> Form | None:
    """Return the form of a text completion. Raises as `parse_chat_form` does."""
    return _offered(_form(body), model)


def parse_chat_form(
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
    if calls := call_form(tools, choice, is_parallel):
        return ChatForm(_offered(replace(calls, source="tool_choice"), model), "guided_json")
    if not tools:
        return ChatForm(_offered(form, model), None)
    if form is None:
        return ChatForm(_checked(tools, model), model.tool_parser)
    beside = form_beside(tools, form, is_parallel)
    if beside is None:
        return ChatForm(_offered(form, model), None)
    bound = _offered(replace(beside, source=form.source), model)
    return ChatForm(bound, "guided_json", form.text.decode())


def _offered(form: Form | None, model: Model) -> Form | None:
    if form:
        model.require(Feature.GUIDED_DECODING, form.source)
    return form


def _checked(tools: Sequence[Tool], model: Model) -> Form | None:
    """Return what tells whether `strict` tools can be enforced, where anything can."""
    return strict_form(tools) if Feature.GUIDED_DECODING in model.engine.features else None


def _form(body: GenerationRequest) -> Form | None:
    """Return the form that a body asks for."""
    forms = [replace(form, source=param) for param, form in _requested(body)]
    if len(forms) > 1:
        first, second = forms[0].source, forms[1].source
        raise InvalidRequest(
            f"{first!r} and {second!r} both decide the answer's form: give one.", param=second
        )
    return forms[0] if forms else None


def _requested(body: GenerationRequest) -> Iterator[tuple[str, Form]]:
    if body.response_format and body.response_format.type != "text":
        yield "response_format", _format_guide(body.response_format)
    if body.guided_json is not None:
        yield "guided_json", json_schema_form(body.guided_json, "guided_json")
    if body.guided_regex is not None:
        yield "guided_regex", regex_form(body.guided_regex, "guided_regex")
    if body.guided_grammar is not None:
        yield "guided_grammar", grammar_form(body.guided_grammar, "guided_grammar")
    if body.guided_choice is not None:
        yield "guided_choice", choice_form(body.guided_choice, "guided_choice")
    if body.structured_outputs is not None:
        yield (
            "structured_outputs",
            structured_outputs_form(body.structured_outputs, "structured_outputs"),
        )


def _format_guide(response_format: ResponseFormat) -> Form:
    if response_format.type == "json_object":
        return json_object_form()
    param = "response_format.json_schema"
    if response_format.json_schema is None:
        raise InvalidRequest(f"{param!r} is required.", param=param)
    if response_format.json_schema.json_schema is None:
        return json_object_form()
    return json_schema_form(response_format.json_schema.json_schema, f"{param}.schema")
