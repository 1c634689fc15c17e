"""A chat body as a task: what to render, what to generate, how to read the answer."""

import msgspec

from gateway.engine import Feature
from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.models import Model
from gateway.openai.chunks import StreamUsage
from gateway.openai.draft import (
    Draft,
    check_echo,
    check_unknown,
    parse_draft,
    parse_stops,
    parse_stream_usage,
)
from gateway.openai.guides import parse_chat_guide
from gateway.openai.messages import parse_conversation
from gateway.openai.schemas import ChatCompletionRequest
from gateway.openai.tools import offered, parse_tool_choice, parse_tools
from gateway.output.answer import AnswerSpec
from gateway.output.tools.choice import Auto, NoTools, ToolChoice
from gateway.prompt.conversation import Conversation


class ChatTask(msgspec.Struct, frozen=True):
    """One chat request, understood. `echo` is text that the answer repeats before its own."""

    model: Model
    conversation: Conversation
    draft: Draft
    spec: AnswerSpec
    is_stream: bool
    stream_usage: StreamUsage
    echo: str


def parse_chat(body: ChatCompletionRequest, model: Model, strict: bool) -> ChatTask:
    """Return what a chat request asks of this model.

    Raises InvalidRequest naming the parameter at fault, UnsupportedParameter for what the
    model's engine cannot do.
    """
    check_unknown(body, strict)
    _check_outputs(body, model)
    tools = parse_tools(body)
    choice = parse_tool_choice(body, tools)
    guide = parse_chat_guide(body, tools, choice, model)
    spec = AnswerSpec(
        num_choices=body.n or 1,
        stops=parse_stops(body),
        include_stop=bool(body.include_stop_str_in_output),
        skip_special=body.skip_special_tokens is not False,
        parser=_parser(choice, is_guided=guide is not None, model=model),
        tools=tuple(tool.name for tool in offered(tools, choice)),
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        logprobs=bool(body.logprobs),
        return_token_ids=bool(body.return_token_ids),
    )
    max_tokens = body.max_completion_tokens or body.max_tokens
    conversation = parse_conversation(body, body.messages, offered(tools, choice))
    echo = conversation.messages[-1].content if _echoes(body) else ""
    check_echo([echo], spec.num_choices)
    return ChatTask(
        model=model,
        conversation=conversation,
        draft=parse_draft(body, model, spec, guide, max_tokens, source="messages"),
        spec=spec,
        is_stream=bool(body.stream),
        stream_usage=parse_stream_usage(body),
        echo=echo,
    )


def _parser(choice: ToolChoice, is_guided: bool, model: Model) -> str | None:
    """Return the format of tool calls: a grammar yields plain JSON, calls or an answer."""
    if isinstance(choice, NoTools) or (is_guided and isinstance(choice, Auto)):
        return None
    return "json" if is_guided else model.tool_parser


def _echoes(body: ChatCompletionRequest) -> bool:
    return bool(body.echo and body.continue_final_message)


def _check_outputs(body: ChatCompletionRequest, model: Model) -> None:
    if body.modalities not in (None, [], ["text"]):
        raise UnsupportedParameter("Only text is produced here.", param="modalities")
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    if body.top_logprobs:
        raise UnsupportedParameter(
            "'top_logprobs' above 0 is not supported: the engine tells the probability of the "
            "chosen token alone.",
            param="top_logprobs",
        )
    if body.logprobs:
        model.require(Feature.LOGPROBS, "logprobs")
