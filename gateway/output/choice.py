"""One sequence on its way from token ids to events. Knows nothing of the other sequences."""

from typing import Protocol

from gateway.generation import Delta, FinishReason, TextDelta
from gateway.output.detokenizer import Detokenizer
from gateway.output.events import ChoiceEnd, Content, Event, StopCause
from gateway.output.sink import Sink
from gateway.output.stops import StopMatcher
from gateway.output.trace import Trace

_CAUSES = {FinishReason.STOP: StopCause.STOP, FinishReason.LENGTH: StopCause.LENGTH}


class Choice(Protocol):
    """Folds the deltas of one sequence. `num_tokens` ends with the token that met a stop."""

    num_tokens: int

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met: the rest of the sequence is of no use."""
        ...

    def push(self, item: Delta | TextDelta) -> list[Event]: ...

    def end(self, reason: FinishReason) -> list[Event]: ...


class PlainChoice:
    """Text and nothing else."""

    __slots__ = ("_detokenizer", "_index", "num_tokens")

    stopped = False

    def __init__(self, index: int, detokenizer: Detokenizer) -> None:
        self._index = index
        self._detokenizer = detokenizer
        self.num_tokens = 0

    def push(self, item: Delta | TextDelta) -> list[Event]:
        if isinstance(item, TextDelta):
            self.num_tokens += item.num_tokens
            text = item.text
        else:
            self.num_tokens += len(item.token_ids)
            text = self._detokenizer.push(item.token_ids)
        return [Content(self._index, text)] if text else []

    def end(self, reason: FinishReason) -> list[Event]:
        text = self._detokenizer.flush()
        held: list[Event] = [Content(self._index, text)] if text else []
        return [*held, ChoiceEnd(self._index, _CAUSES[reason])]


class StagedChoice:
    """Text through stop strings into a sink that may find tool calls."""

    def __init__(
        self, index: int, detokenizer: Detokenizer, stops: StopMatcher, sink: Sink, calls_end: bool
    ) -> None:
        self._index = index
        self._detokenizer = detokenizer
        self._stops = stops
        self._sink = sink
        self._calls_end = calls_end  # a call is a finish reason of its own
        self.num_tokens = 0

    @property
    def stopped(self) -> bool:
        return self._stops.stopped

    def push(self, item: Delta | TextDelta) -> list[Event]:
        if self._stops.stopped:
            return []
        if isinstance(item, TextDelta):
            self.num_tokens += item.num_tokens
            return self._sink.push(self._stops.push(item.text))
        return self._push_tokens(item)

    def end(self, reason: FinishReason) -> list[Event]:
        text = self._stops.push(self._detokenizer.flush()) + self._stops.flush()
        return [*self._close(text), ChoiceEnd(self._index, self._cause(reason))]

    def _close(self, text: str) -> list[Event]:
        return self._sink.push(text) + self._sink.finish()

    def _push_tokens(self, delta: Delta) -> list[Event]:
        texts = []
        for token_id in delta.token_ids:
            self.num_tokens += 1
            texts.append(self._stops.push(self._detokenizer.push((token_id,))))
            if self._stops.stopped:
                break
        return self._sink.push("".join(texts))

    def _cause(self, reason: FinishReason) -> StopCause:
        if reason is FinishReason.LENGTH and not self._stops.stopped:
            return StopCause.LENGTH
        has_calls = self._calls_end and self._sink.has_calls
        return StopCause.TOOL_CALLS if has_calls else StopCause.STOP


class TracedChoice(StagedChoice):
    """A staged choice that also reports its tokens."""

    def __init__(
        self,
        index: int,
        detokenizer: Detokenizer,
        stops: StopMatcher,
        sink: Sink,
        calls_end: bool,
        trace: Trace,
    ) -> None:
        super().__init__(index, detokenizer, stops, sink, calls_end)
        self._trace = trace

    def _push_tokens(self, delta: Delta) -> list[Event]:
        texts = []
        logprobs = delta.logprobs or [0.0] * len(delta.token_ids)
        tops = delta.tops or [()] * len(delta.token_ids)
        for token_id, logprob, top in zip(delta.token_ids, logprobs, tops, strict=True):
            self.num_tokens += 1
            read = self._detokenizer.push((token_id,))
            emitted = self._stops.push(read)
            self._trace.add(token_id, logprob, len(read), len(emitted), top)
            texts.append(emitted)
            if self._stops.stopped:
                break
        events = self._trace.annotate(self._sink.push("".join(texts)))
        return [Content(self._index, "", prompt=delta.prompt), *events] if delta.prompt else events

    def _close(self, text: str) -> list[Event]:
        return self._trace.annotate_end(super()._close(text), len(text), self._stops.stopped)
