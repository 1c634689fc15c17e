"""A text completion body as a task: several prompts, each a generation of its own."""

import msgspec

from gateway.engine import Feature
from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.generation import Prompt
from gateway.models import Model
from gateway.openai.chunks import StreamUsage
from gateway.openai.draft import (
    Draft,
    check_unknown,
    parse_draft,
    parse_stops,
    parse_stream_usage,
    parse_tops,
)
from gateway.openai.guides import parse_form
from gateway.openai.schemas import CompletionRequest, TokenizeRequest
from gateway.output.answer import AnswerSpec
from gateway.prompt.renderer import Reading
from gateway.traffic.size import MAX_CHOICES

GivenPrompt = str | list[int]


class CompletionTask(msgspec.Struct, frozen=True):
    """One completion request, understood.

    Every prompt is answered `num_candidates` times, of which the `n` likeliest are returned.
    """

    model: Model
    prompts: tuple[GivenPrompt, ...]
    reading: Reading
    draft: Draft
    spec: AnswerSpec
    n: int
    has_logprobs: bool
    echo: bool
    is_stream: bool
    stream_usage: StreamUsage

    @property
    def num_candidates(self) -> int:
        return self.spec.num_choices

    async def render(self, given: GivenPrompt) -> Prompt:
        """Return a prompt; ids are taken as they are."""
        renderer, context = self.model.renderer, self.model.context("prompt")
        if isinstance(given, str):
            return await renderer.encode_text_async(given, self.reading, context=context)
        with_text = Feature.TOKEN_IDS not in self.model.engine.features
        return renderer.from_ids(given, context=context, with_text=with_text)

    async def echoed(self, given: GivenPrompt) -> str:
        """Return what the answer repeats before its own text."""
        if not self.echo:
            return ""
        if isinstance(given, str):
            return given
        return await self.model.renderer.decode_async(given, skip_special=True)


def parse_completion(body: CompletionRequest, model: Model, strict: bool) -> CompletionTask:
    """Return what a completion request asks of this model. Raises as `parse_chat` does."""
    check_unknown(body, strict)
    prompts = parse_prompts(body)
    n = body.n or 1
    candidates = _candidates(body, n)
    check_choices(len(prompts), candidates)
    _check_outputs(body, model, candidates > n)
    spec = AnswerSpec(
        num_choices=candidates,
        stops=parse_stops(body),
        include_stop=bool(body.include_stop_str_in_output),
        skip_special=body.skip_special_tokens is not False,
        logprobs=body.logprobs is not None or candidates > n,
        num_top=(num_top := parse_tops(body.logprobs or 0, body, model, "logprobs")),
        num_prompt=num_top if body.echo and body.logprobs is not None else -1,
        return_token_ids=bool(body.return_token_ids),
    )
    form = parse_form(body, model)
    return CompletionTask(
        model=model,
        prompts=prompts,
        reading=parse_reading(body),
        draft=parse_draft(body, model, spec, form, body.max_tokens, source="prompt"),
        spec=spec,
        n=n,
        has_logprobs=body.logprobs is not None,
        echo=bool(body.echo),
        is_stream=bool(body.stream),
        stream_usage=parse_stream_usage(body),
    )


def parse_reading(body: CompletionRequest | TokenizeRequest) -> Reading:
    """Return how text becomes tokens."""
    return Reading(bool(body.parse_special_tokens), body.add_special_tokens is not False)


def parse_prompts(body: CompletionRequest) -> tuple[GivenPrompt, ...]:
    """Return the prompts one by one, of the four forms OpenAI's API knows."""
    given = body.prompt
    prompts: list[GivenPrompt]
    if isinstance(given, str):
        prompts = [given]
    elif all(isinstance(item, int) for item in given):
        prompts = [given]  # type: ignore[list-item]
    else:
        prompts = list(given)  # type: ignore[arg-type]
    if [] in prompts:
        raise InvalidRequest("A prompt of token ids must not be empty.", param="prompt")
    return tuple(prompts)


def check_choices(num_prompts: int, num_candidates: int) -> None:
    """Raise InvalidRequest for more sequences than one request may have."""
    if num_prompts * num_candidates > MAX_CHOICES:
        raise InvalidRequest(
            f"Prompts times 'n', or 'best_of', must not exceed {MAX_CHOICES} choices.",
            param="prompt",
        )


def _candidates(body: CompletionRequest, n: int) -> int:
    if body.best_of is None:
        return n
    if body.best_of < n:
        raise InvalidRequest("'best_of' must not be less than 'n'.", param="best_of")
    if body.stream and body.best_of > n:
        raise InvalidRequest(
            "'best_of' above 'n' cannot be streamed: the best is known at the end.",
            param="best_of",
        )
    return body.best_of


def _check_outputs(body: CompletionRequest, model: Model, ranks: bool) -> None:
    if body.suffix:
        raise UnsupportedParameter("Insertion before a suffix is not supported.", param="suffix")
    if body.logprobs is not None and body.echo:
        model.require(Feature.PROMPT_LOGPROBS, "logprobs")
        if body.max_tokens == 0:
            raise UnsupportedParameter(
                "'logprobs' with 'echo' needs 'max_tokens' of 1 at least: the engine tells the "
                "prompt's with the first token.",
                param="max_tokens",
            )
    if body.logprobs is not None:
        model.require(Feature.LOGPROBS, "logprobs")
    if ranks:
        model.require(Feature.LOGPROBS, "best_of")
        model.require(Feature.NUM_SEQUENCES, "best_of")
    if body.max_tokens == 0 and not body.echo:
        raise InvalidRequest("'max_tokens' may be 0 only with 'echo'.", param="max_tokens")
