"""What chat and text completions share, understood: every default, range and refusal, once."""

from collections.abc import Sequence

import msgspec
import structlog

from gateway.engine import Feature
from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.generation import Generation, Guide, Prompt
from gateway.guides.compiler import COMPILER
from gateway.guides.forms import Form
from gateway.models import Model
from gateway.openai.chunks import StreamUsage
from gateway.openai.parameters import HINTS, IGNORED, REFUSED, asks_for_nothing
from gateway.openai.sampling import parse_sampling
from gateway.openai.schemas import GenerationRequest
from gateway.output.answer import AnswerSpec
from gateway.prompt.context import check_context
from gateway.telemetry.metrics import IGNORED_PARAMETERS
from gateway.traffic.size import MAX_ECHO, MAX_STOP_CHARS, MAX_UNKNOWN, MAX_WORD, check_length

log = structlog.get_logger(__name__)

MAX_SESSION = 512
"""Characters of a key for requests that belong together; one that is longer is none."""


class Draft(msgspec.Struct, frozen=True):
    """A generation that lacks its prompt, and with it the room that is left for the answer.

    `source` is the parameter the prompt comes from; `form` is what the answer must follow.
    """

    generation: Generation
    form: Form | None
    max_tokens: int | None
    max_model_len: int
    source: str

    async def guide(self) -> Guide | None:
        """Return the guide of the form. Raises InvalidRequest where no engine can follow it."""
        return await COMPILER.guide(self.form) if self.form else None

    def complete(self, prompt: Prompt, guide: Guide | None) -> Generation:
        """Return the generation. Raises ContextTooLong with both numbers."""
        if not prompt.token_ids:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        num_tokens = len(prompt.token_ids)
        room = check_context(num_tokens, self.max_tokens, self.max_model_len, param=self.source)
        if self.generation.min_tokens > room:
            raise InvalidRequest(
                f"'min_tokens' is {self.generation.min_tokens}, but the answer has room for "
                f"{room} tokens.",
                param="min_tokens",
            )
        return msgspec.structs.replace(self.generation, prompt=prompt, max_tokens=room, guide=guide)


def parse_draft(
    body: GenerationRequest,
    model: Model,
    spec: AnswerSpec,
    form: Form | None,
    max_tokens: int | None,
    source: str,
) -> Draft:
    """Return the part of a generation that does not depend on the prompt.

    With stop strings the engine streams even for a whole answer, so that meeting one ends the
    generation at once.
    """
    check_features(body, model)
    generation = Generation(
        prompt=Prompt((), ""),
        max_tokens=0,
        min_tokens=body.min_tokens or 0,
        num_sequences=spec.num_choices,
        sampling=parse_sampling(body, model),
        end_ids=parse_end_ids(body, model),
        bad_words=parse_bad_words(body, model),
        logit_bias=parse_logit_bias(body, model),
        logprobs=spec.logprobs,
        num_top=spec.num_top,
        num_prompt=spec.num_prompt,
        lora=model.lora,
        streaming=bool(body.stream) or bool(spec.stops),
        session=parse_session(body),
    )
    return Draft(generation, form, max_tokens, model.max_model_len, source)


def parse_session(body: GenerationRequest) -> str:
    """Return what requests that belong together have in common, "" where nothing says."""
    given = [(body.model_extra or {}).get(name) for name in HINTS]
    return next((key for key in given if isinstance(key, str) and len(key) <= MAX_SESSION), "")


def parse_stops(body: GenerationRequest) -> tuple[str, ...]:
    """Return the stop strings. Raises InvalidRequest for an empty one."""
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    if "" in stops:
        raise InvalidRequest("A stop string must not be empty.", param="stop")
    check_length("".join(stops), MAX_STOP_CHARS, "stop", "characters in all")
    return stops


def check_echo(echoes: Sequence[str], num_times: int) -> None:
    """Raise InvalidRequest for an answer that would repeat too much of its prompts."""
    if sum(map(len, echoes)) * num_times > MAX_ECHO:
        raise InvalidRequest(
            f"'echo' would repeat more than {MAX_ECHO:,} characters in all choices together.",
            param="echo",
        )


def parse_bad_words(body: GenerationRequest, model: Model) -> tuple[tuple[int, ...], ...]:
    """Return the tokens of each word. Raises InvalidRequest for an empty one."""
    words = body.bad_words or []
    if "" in words:
        raise InvalidRequest("A bad word must not be empty.", param="bad_words")
    return tuple(tuple(model.tokenizer.encode(word)) for word in words)


def parse_end_ids(body: GenerationRequest, model: Model) -> tuple[int, ...]:
    """Return every token id that ends the answer, the model's own first."""
    own = () if body.ignore_eos else model.tokenizer.end_ids
    further = tuple(body.stop_token_ids or ())
    if further:
        model.require(Feature.STOP_TOKEN_IDS, "stop_token_ids")
    for token_id in further:
        _check_token_id(token_id, model, "stop_token_ids")
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
    unknown = body.model_extra or {}
    if len(unknown) > MAX_UNKNOWN:
        raise InvalidRequest(f"The body has more than {MAX_UNKNOWN} parameters that nobody knows.")
    for name, value in unknown.items():
        if value is None or (name in REFUSED and asks_for_nothing(name, value)):
            continue
        if name in REFUSED:
            reason = f"{name!r} is not supported: {REFUSED[name]}"
            raise UnsupportedParameter(reason, param=name)
        if name in HINTS:
            continue
        if strict and name not in IGNORED:
            raise InvalidRequest(
                f"Unknown parameter: {name!r}.", param=name[:MAX_WORD], code="unknown_parameter"
            )
        IGNORED_PARAMETERS.labels(name if name in IGNORED else "other").inc()
        log.debug("parameter_ignored", param=name[:MAX_WORD])


def parse_tops(num_top: int, body: GenerationRequest, model: Model, param: str) -> int:
    """Return how many of the likeliest tokens the engine is to be asked for.

    Raises UnsupportedParameter where it does not tell them. The likeliest one alone is known where
    decoding is greedy: it is the chosen one.
    """
    if not num_top:
        return 0
    if Feature.TOP_LOGPROBS in model.engine.features:
        return num_top
    if num_top > 1 or not parse_sampling(body, model).is_greedy:
        raise UnsupportedParameter(
            f"{param!r} of {num_top} is not supported: the engine tells the log probability of the "
            f"chosen token alone, which {param!r} of 0 returns. 1 is possible with 'temperature' "
            "0, where the chosen token is the likeliest.",
            param=param,
        )
    return 0


def check_features(body: GenerationRequest, model: Model) -> None:
    """Raise UnsupportedParameter for what this model's engine does not have."""
    if model.lora:
        model.require(Feature.LORA, "model")
    if (body.n or 1) > 1:
        model.require(Feature.NUM_SEQUENCES, "n")
    if body.min_tokens:
        model.require(Feature.MIN_TOKENS, "min_tokens")
    if body.bad_words:
        model.require(Feature.BAD_WORDS, "bad_words")
    if body.ignore_eos:
        model.require(Feature.STOP_TOKEN_IDS, "ignore_eos")
    if body.return_token_ids:
        model.require(Feature.TOKEN_IDS, "return_token_ids")
    if body.skip_special_tokens is False:
        model.require(Feature.TOKEN_IDS, "skip_special_tokens")


def _check_token_id(token_id: int, model: Model, param: str) -> None:
    if token_id >= model.tokenizer.vocab_size:
        raise InvalidRequest(
            f"{param!r} has token id {token_id}, but the vocabulary ends at "
            f"{model.tokenizer.vocab_size - 1}.",
            param=param,
        )
