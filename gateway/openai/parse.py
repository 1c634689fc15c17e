"""Bodies to tasks: every default, range and refusal is decided here, once."""

from dataclasses import dataclass

import structlog

from gateway.engine import Feature
from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.generation import Generation, Guide, Prompt, Sampling
from gateway.models import Model
from gateway.openai.chunks import StreamUsage
from gateway.openai.guides import parse_chat_guide
from gateway.openai.messages import parse_message
from gateway.openai.parameters import IGNORED, REFUSED
from gateway.openai.sampling import parse_sampling
from gateway.openai.schemas import ChatCompletionRequest, GenerationRequest
from gateway.openai.tools import offered, parse_tool_choice, parse_tools
from gateway.output.answer import AnswerSpec
from gateway.output.tools.choice import NoTools, ToolChoice
from gateway.prompt.context import check_context
from gateway.prompt.conversation import Conversation, Tool

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A generation that lacks only its prompt."""

    model: Model
    sampling: Sampling
    max_tokens: int | None
    min_tokens: int
    num_sequences: int
    end_ids: tuple[int, ...]
    bad_words: tuple[tuple[int, ...], ...]
    logit_bias: tuple[tuple[int, float], ...]
    guide: Guide | None
    logprobs: bool
    streaming: bool

    def complete(self, prompt: Prompt) -> Generation:
        """Return the generation. Raises ContextTooLong with both numbers."""
        room = check_context(
            len(prompt.token_ids), self.max_tokens, self.model.engine.max_model_len
        )
        if self.min_tokens > room:
            raise InvalidRequest(
                f"'min_tokens' is {self.min_tokens}, but the answer has room for {room} tokens.",
                param="min_tokens",
            )
        return Generation(
            prompt=prompt,
            max_tokens=room,
            min_tokens=self.min_tokens,
            num_sequences=self.num_sequences,
            sampling=self.sampling,
            end_ids=self.end_ids,
            bad_words=self.bad_words,
            logit_bias=self.logit_bias,
            guide=self.guide,
            logprobs=self.logprobs,
            streaming=self.streaming,
        )


@dataclass(frozen=True, slots=True)
class ChatTask:
    """One chat request, understood."""

    model: Model
    conversation: Conversation
    draft: Draft
    spec: AnswerSpec
    is_stream: bool
    stream_usage: StreamUsage


def parse_chat(body: ChatCompletionRequest, model: Model, strict: bool) -> ChatTask:
    """Return what a chat request asks of this model.

    Raises InvalidRequest naming the parameter at fault, UnsupportedParameter for what the
    model's engine cannot do.
    """
    check_unknown(body, strict)
    check_chat_only(body, model)
    tools = parse_tools(body)
    choice = parse_tool_choice(body, tools)
    guide = parse_chat_guide(body, tools, choice, model)
    spec = AnswerSpec(
        num_choices=body.n or 1,
        stops=parse_stops(body),
        include_stop=bool(body.include_stop_str_in_output),
        skip_special=body.skip_special_tokens is not False,
        parser=_parser(choice, guide, model),
        tools=tuple(tool.name for tool in offered(tools, choice)),
        tool_choice=choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        logprobs=bool(body.logprobs),
        return_token_ids=bool(body.return_token_ids),
    )
    return ChatTask(
        model=model,
        conversation=parse_conversation(body, offered(tools, choice)),
        draft=parse_draft(body, model, spec, guide, body.max_completion_tokens or body.max_tokens),
        spec=spec,
        is_stream=bool(body.stream),
        stream_usage=parse_stream_usage(body),
    )


def _parser(choice: ToolChoice, guide: Guide | None, model: Model) -> str | None:
    """Return the format of tool calls: a grammar for calls yields plain JSON."""
    if isinstance(choice, NoTools):
        return None
    return "json" if guide else model.tool_parser


def parse_draft(
    body: GenerationRequest,
    model: Model,
    spec: AnswerSpec,
    guide: Guide | None,
    max_tokens: int | None,
) -> Draft:
    """Return the part of a generation that does not depend on the prompt.

    With stop strings the engine streams even for a whole answer, so that meeting one ends the
    generation at once.
    """
    return Draft(
        model=model,
        sampling=parse_sampling(body, model),
        max_tokens=max_tokens,
        min_tokens=body.min_tokens or 0,
        num_sequences=spec.num_choices,
        end_ids=parse_end_ids(body, model),
        bad_words=tuple(tuple(model.tokenizer.encode(word)) for word in body.bad_words or ()),
        logit_bias=parse_logit_bias(body, model),
        guide=guide,
        logprobs=spec.logprobs,
        streaming=bool(body.stream) or bool(spec.stops),
    )


def parse_conversation(body: ChatCompletionRequest, tools: tuple[Tool, ...]) -> Conversation:
    """Return what is to be rendered. Raises InvalidRequest naming the message at fault."""
    continues = bool(body.continue_final_message)
    if continues and body.add_generation_prompt:
        raise InvalidRequest(
            "'add_generation_prompt' opens a new message and 'continue_final_message' goes on "
            "with the last one: only one of them can be true.",
            param="continue_final_message",
        )
    kwargs = dict(body.chat_template_kwargs or {})
    if body.reasoning_effort is not None:
        kwargs.setdefault("reasoning_effort", body.reasoning_effort)
    return Conversation(
        messages=tuple(parse_message(m, f"messages[{i}]") for i, m in enumerate(body.messages)),
        tools=tools,
        add_generation_prompt=not continues and body.add_generation_prompt is not False,
        continue_final_message=continues,
        template_kwargs=kwargs,
    )


def parse_stops(body: GenerationRequest) -> tuple[str, ...]:
    """Return the stop strings. Raises InvalidRequest for an empty one."""
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if "" in stops:
        raise InvalidRequest("A stop string must not be empty.", param="stop")
    return stops


def parse_end_ids(body: GenerationRequest, model: Model) -> tuple[int, ...]:
    """Return every token id that ends the answer, the model's own first."""
    own = () if body.ignore_eos else model.tokenizer.end_ids
    further = tuple(body.stop_token_ids or ())
    for token_id in further:
        _check_token_id(token_id, model, "stop_token_ids")
    if further:
        model.require(Feature.STOP_TOKEN_IDS, "stop_token_ids")
    return tuple(dict.fromkeys((*own, *further)))


def parse_logit_bias(body: GenerationRequest, model: Model) -> tuple[tuple[int, float], ...]:
    """Return token ids and what is added to their logits, in order of id."""
    if not body.logit_bias:
        return ()
    model.require(Feature.LOGIT_BIAS, "logit_bias")
    pairs = sorted((int(token), value) for token, value in body.logit_bias.items())
    for token_id, _ in pairs:
        _check_token_id(token_id, model, "logit_bias")
    return tuple(pairs)


def parse_stream_usage(body: GenerationRequest) -> StreamUsage:
    """Return which chunks carry the usage. Raises InvalidRequest without a stream."""
    options = body.stream_options
    if options is None:
        return StreamUsage()
    if not body.stream:
        raise InvalidRequest("'stream_options' is only for streams.", param="stream_options")
    at_end = bool(options.include_usage)
    return StreamUsage(at_end=at_end, always=at_end and bool(options.continuous_usage_stats))


def check_unknown(body: GenerationRequest, strict: bool) -> None:
    """Pass over what is known to do nothing, refuse what would change the answer.

    Names nobody knows are ignored as well, unless `strict`.
    """
    for name, value in (body.model_extra or {}).items():
        if value is None:
            continue
        if name in REFUSED:
            raise UnsupportedParameter(REFUSED[name], param=name)
        if strict and name not in IGNORED:
            raise InvalidRequest(
                f"Unknown parameter: {name!r}.", param=name, code="unknown_parameter"
            )
        log.debug("parameter_ignored", param=name)


def check_features(body: GenerationRequest, model: Model) -> None:
    """Raise UnsupportedParameter for what this model's engine does not have."""
    if (body.n or 1) > 1:
        model.require(Feature.NUM_SEQUENCES, "n")
    if body.min_tokens:
        model.require(Feature.MIN_TOKENS, "min_tokens")
    if body.bad_words:
        model.require(Feature.BAD_WORDS, "bad_words")


def check_chat_only(body: ChatCompletionRequest, model: Model) -> None:
    """Raise for what only chat requests have and this gateway cannot do."""
    check_features(body, model)
    if body.modalities not in (None, [], ["text"]):
        raise UnsupportedParameter("Only text is produced here.", param="modalities")
    if body.top_logprobs and not body.logprobs:
        raise InvalidRequest("'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    if body.top_logprobs:
        raise UnsupportedParameter(
            "'top_logprobs' above 0 is not supported: the engine tells the probability of the "
            "chosen token alone.",
            param="top_logprobs",
        )
    if body.logprobs:
        model.require(Feature.LOGPROBS, "logprobs")


def _check_token_id(token_id: int, model: Model, param: str) -> None:
    if token_id >= model.tokenizer.vocab_size:
        raise InvalidRequest(
            f"{param!r} has token id {token_id}, but the vocabulary ends at "
            f"{model.tokenizer.vocab_size - 1}.",
            param=param,
        )
