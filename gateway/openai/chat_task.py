"""A chat body as a task: what to render, what to generate, how to read the answer."""

import msgspec

from gateway.engine import Feature
from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.models import Model
from gateway.openai.calls import FUNCTION_CALL, TOOL_CALLS, CallForm
from gateway.openai.chunks import StreamUsage
from gateway.openai.draft import (
    Draft,
    check_echo,
    check_unknown,
    parse_draft,
    parse_stops,
    parse_stream_usage,
    parse_tops,
)
from gateway.openai.guides import parse_chat_form
from gateway.openai.messages import parse_conversation
from gateway.openai.schemas import ChatCompletionRequest
from gateway.openai.tools import needs_arguments, offered, parse_tool_choice, parse_tools
from gateway.output.answer import AnswerSpec
from gateway.prompt.answer_form import tell_form
from gateway.prompt.conversation import Conversation


class ChatTask(msgspec.Struct, frozen=True):
    """One chat request, understood.

    `calls` is how its answer writes them, `num_top` how many of the likeliest tokens it tells for
    each, None without log probabilities; `echo` is text that it repeats before its own.
    """

    model: Model
    conversation: Conversation
    draft: Draft
    spec: AnswerSpec
    is_stream: bool
    stream_usage: StreamUsage
    calls: CallForm
    num_top: int | None
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
    is_legacy = bool(body.functions) and not body.tools
    is_parallel = body.parallel_tool_calls is not False and not is_legacy
    shown = offered(tools, choice)
    form = parse_chat_form(body, shown, choice, is_parallel, model)
    spec = AnswerSpec(
        num_choices=body.n or 1,
        stops=parse_stops(body),
        include_stop=bool(body.include_stop_str_in_output),
        skip_special=body.skip_special_tokens is not False,
        parser=form.parser,
        tools=tuple(tool.name for tool in shown),
        tools_without_arguments=frozenset(tool.name for tool in shown if not needs_arguments(tool)),
        tool_choice=choice,
        parallel_tool_calls=is_parallel,
        logprobs=bool(body.logprobs),
        num_top=parse_tops(body.top_logprobs or 0, body, model, "top_logprobs"),
        return_token_ids=bool(body.return_token_ids),
    )
    max_tokens = body.max_completion_tokens or body.max_tokens
    conversation = parse_conversation(body, body.messages, shown)
    echo = conversation.messages[-1].content if _echoes(body) else ""
    check_echo([echo], spec.num_choices)
    if form.told:
        conversation = tell_form(conversation, form.told)
    return ChatTask(
        model=model,
        conversation=conversation,
        draft=parse_draft(body, model, spec, form.form, max_tokens, source="messages"),
        spec=spec,
        is_stream=bool(body.stream),
        stream_usage=parse_stream_usage(body),
        num_top=(body.top_logprobs or 0) if body.logprobs else None,
        calls=FUNCTION_CALL if is_legacy else TOOL_CALLS,
        echo=echo,
    )


def _echoes(body: ChatCompletionRequest) -> bool:
    return bool(body.echo and body.continue_final_message)


def _check_outputs(body: ChatCompletionRequest, model: Model) -> None:
    if body.modalities not in (None, [], ["text"]):
        raise UnsupportedParameter("Only text is produced here.", param="modalities")
    if body.add_special_tokens:
        raise UnsupportedParameter(
            "'add_special_tokens' is for raw text: in a chat the template writes them.",
            param="add_special_tokens",
        )
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    if body.logprobs:
        model.require(Feature.LOGPROBS, "logprobs")
