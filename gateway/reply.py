"""An answer under way: an engine's items turned into events, and what they came to."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from gateway.engine import Engine, Feature, Generator
from gateway.errors import EngineTimeout, GatewayError
from gateway.generation import Delta, Finished, FinishReason, Generation, Item, TextDelta, Usage
from gateway.origin import origin
from gateway.output.answer import Answer
from gateway.output.assistant import AssistantExtractor, echoes_of, turns_of
from gateway.output.events import ChoiceEnd, Event, StopCause
from gateway.output.vocabulary import Vocabulary
from gateway.telemetry.answers import AnswerWatch
from gateway.telemetry.lengths import LengthTrace
from gateway.traffic.gate import Ticket
from gateway.visit import CANCELLED, ENDINGS, visit


class Reply:
    """One generation's answer. `usage` is right at every step and final after the last.

    Answers last and prompts can be long, so the prompt is let go of once the engine has it;
    `tells_prompt` keeps its ids in `prompt_token_ids`. `echo` is what the answer repeats of it.
    `lengths` is told when the answer ends, however it ends.
    """

    __slots__ = (
        "_answer",
        "_arrival_s",
        "_cached_tokens",
        "_items",
        "_lengths",
        "_prompt_tokens",
        "_visit",
        "_watch",
        "echo",
        "most_tokens",
        "prompt_token_ids",
    )

    def __init__(
        self,
        engine: Generator,
        generation: Generation,
        answer: Answer,
        *,
        tells_prompt: bool = False,
        echo: str = "",
        lengths: LengthTrace | None = None,
    ) -> None:
        self.echo = echo
        token_ids = generation.prompt.token_ids
        self.prompt_token_ids = token_ids if tells_prompt else ()
        self._prompt_tokens = len(token_ids)
        self.most_tokens = len(token_ids) + generation.max_tokens * generation.num_sequences
        self._visit = visit.get()
        self._items = engine.generate(generation)
        self._answer = answer
        self._cached_tokens = 0
        self._lengths = lengths
        self._arrival_s = time.time()
        arrived = origin.get().arrived
        self._watch = AnswerWatch(answer, len(token_ids), generation.num_sequences, arrived)

    @property
    def usage(self) -> Usage:
        return Usage(self._prompt_tokens, self._answer.completion_tokens, self._cached_tokens)

    async def steps(self) -> AsyncGenerator[list[Event], None]:
        """Yield events as the answer grows, once; the last step ends every choice.

        Closing the iterator cancels the generation, and so does meeting a stop string in every
        choice. Raises what the engine raises; a deadline that passes with what had come by then.
        """
        answer, watch, ending, place = self._answer, self._watch, CANCELLED, None
        begun = False
        watch.begin()
        try:
            place = await self._enter()
            async with aclosing(self._items) as items:
                async for item in items:
                    if not begun:
                        begun = True
                        self._begin()
                    if isinstance(item, Finished):
                        self._cached_tokens = item.cached_tokens
                        events = answer.finish(item)
                        ending = _reason(events)
                        yield events
                        return
                    events = answer.push(item)
                    if answer.done:
                        ending = FinishReason.STOP.value
                        yield events + answer.cut()
                        return
                    if events:
                        yield events
        except (GatewayError, asyncio.CancelledError) as error:
            told = self._told(error, place)
            ending = getattr(told or error, "code", CANCELLED)
            if told is None:
                raise
            try:
                raise told from error
            finally:
                del told  # which holds this frame by its traceback
        finally:
            self._end(ending, place)

    async def _enter(self) -> Ticket | None:
        if self._visit is None:
            return None
        return await self._visit.enter(self._prompt_tokens, self.most_tokens - self._prompt_tokens)

    def _told(self, error: BaseException, place: Ticket | None) -> BaseException | None:
        """Return what the caller is told instead, if anything.

        Of a deadline it is what had come, of a place that was lost that it was.
        """
        if isinstance(error, EngineTimeout):
            late = _late(self._answer.completion_tokens)
            return EngineTimeout(late, retry_after_s=error.retry_after_s)
        if isinstance(error, asyncio.CancelledError) and self._visit:
            return self._visit.preempted(place)
        return None

    def _begin(self) -> None:
        self._watch.first()
        if self._visit:
            self._visit.begin()

    def _end(self, ending: str, place: Ticket | None) -> None:
        self._watch.end(is_whole=ending in ENDINGS)
        usage = self.usage
        if self._lengths:
            self._lengths.note(self._arrival_s, usage.prompt_tokens, usage.completion_tokens)
        if self._visit:
            has_come = usage.completion_tokens or ending in ENDINGS
            self._visit.leave(place, usage if has_come else NOTHING, ending)


NOTHING = Usage(0, 0)


def _reason(events: Sequence[Event]) -> str:
    """Return why an answer ended, of several choices the first."""
    ends = (event.cause for event in events if isinstance(event, ChoiceEnd))
    return next(ends, StopCause.STOP).value


def _late(num_tokens: int) -> str:
    """Say what became of an answer that a deadline cut. Engines send a whole one at its end."""
    return (
        f"The answer was not complete in time: of its tokens, {num_tokens} had come when the "
        "deadline passed. Ask for fewer with 'max_tokens', or stream it: what has come of a "
        "stream is kept."
    )


def assistant(engine: Engine, vocabulary: Vocabulary) -> Generator:
    """Return what generates the assistant's turn alone: the engine, where it shows its tokens."""
    if Feature.TOKEN_IDS in engine.features:
        return engine
    return _Extracted(engine, vocabulary)


class _Extracted:
    """A text engine less what it writes around the answer: the prompt again, a next turn."""

    def __init__(self, engine: Generator, vocabulary: Vocabulary) -> None:
        self._engine = engine
        self._vocabulary = vocabulary

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        extractors = self._extractors(generation)
        async with aclosing(self._engine.generate(generation)) as items:
            async for item in items:
                if isinstance(item, Finished):
                    for held in _rest(extractors):
                        yield held
                    yield Finished(_reasons(extractors, item.reasons), item.cached_tokens)
                    return
                yield _answered(extractors, item)
                if all(extractor.ended for extractor in extractors):
                    yield Finished((FinishReason.STOP,) * len(extractors))
                    return

    def _extractors(self, generation: Generation) -> list[AssistantExtractor]:
        turns = turns_of(self._vocabulary)
        echoes = echoes_of(generation.prompt, self._vocabulary, turns)
        return [AssistantExtractor(echoes, turns) for _ in range(generation.num_sequences)]


def _answered(extractors: Sequence[AssistantExtractor], item: Delta | TextDelta) -> Item:
    if isinstance(item, Delta):
        return item
    text = extractors[item.index].push(item.text)
    return TextDelta(item.index, text, item.num_tokens)


def _rest(extractors: Sequence[AssistantExtractor]) -> Iterator[TextDelta]:
    for index, extractor in enumerate(extractors):
        if text := extractor.flush():
            yield TextDelta(index, text, 0)


def _reasons(
    extractors: Sequence[AssistantExtractor], reasons: Sequence[FinishReason]
) -> tuple[FinishReason, ...]:
    """Return why each answer ended: where a next turn began, it had not been cut off."""
    pairs = zip(extractors, reasons, strict=True)
    return tuple(FinishReason.STOP if one.ended else reason for one, reason in pairs)
