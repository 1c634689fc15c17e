"""What an engine produces, folded into events. Both wires read an answer through this."""

import secrets
from collections.abc import Callable

import msgspec

from gateway.generation import Delta, Finished, FinishReason, TextDelta
from gateway.output.choice import Choice, PlainChoice, StagedChoice, TracedChoice
from gateway.output.detokenizer import detokenizer_for
from gateway.output.events import Event
from gateway.output.sink import CallSink, Sink, TextSink
from gateway.output.stops import StopMatcher
from gateway.output.tools.choice import Auto, Named, ToolChoice
from gateway.output.tools.parsers import PARSERS
from gateway.output.trace import Trace
from gateway.output.vocabulary import Vocabulary


class AnswerSpec(msgspec.Struct, frozen=True):
    """How an answer is to be read.

    `parser` names the tool call format, one of PARSERS, or is None where text is only text;
    `tools` are the declared names: a call of any other is content; some can be called bare.
    `num_top` counts the likeliest tokens that the engine is asked for, `num_prompt` those at each
    place of the prompt.
    """

    num_choices: int = 1
    stops: tuple[str, ...] = ()
    include_stop: bool = False
    skip_special: bool = True
    parser: str | None = None
    tools: tuple[str, ...] = ()
    tools_without_arguments: frozenset[str] = frozenset()
    tool_choice: ToolChoice = Auto()
    parallel_tool_calls: bool = True
    logprobs: bool = False
    num_top: int = 0
    num_prompt: int = -1
    return_token_ids: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the answer is text and nothing else: no stops, no calls, no tokens reported."""
        return not (self.stops or self.parser or self.logprobs or self.return_token_ids)


def new_call_id() -> str:
    """Return an id no other call has."""
    return f"call_{secrets.token_hex(12)}"


class Answer:
    """The choices of one generation, as their deltas arrive.

    Once `done`, every choice has met a stop string: close the engine's iterator and `cut`.
    Otherwise the engine's Finished goes to `finish`. One of the two is called, once.
    """

    __slots__ = (
        "_can_stop",
        "_choices",
        "done",
    )

    def __init__(
        self, spec: AnswerSpec, vocabulary: Vocabulary, call_id: Callable[[], str] = new_call_id
    ) -> None:
        self.done = False
        self._can_stop = bool(spec.stops)
        self._choices = (
            _plain_choices(spec, vocabulary)
            if spec.is_plain
            else _choices(spec, vocabulary, call_id)
        )

    @property
    def completion_tokens(self) -> int:
        """Tokens of all choices, each up to and with the one that completed a stop string."""
        return sum(choice.num_tokens for choice in self._choices)

    def push(self, item: Delta | TextDelta) -> list[Event]:
        """Return what a delta adds; nothing while bytes, a stop or a call are undecided."""
        events = self._choices[item.index].push(item)
        if self._can_stop:
            self.done = all(choice.stopped for choice in self._choices)
        return events

    def finish(self, finished: Finished) -> list[Event]:
        """Return what was held back, and the end of every choice."""
        ends = zip(self._choices, finished.reasons, strict=True)
        return [event for choice, reason in ends for event in choice.end(reason)]

    def cut(self) -> list[Event]:
        """Return the end of every choice of an answer that is `done`."""
        return [event for choice in self._choices for event in choice.end(FinishReason.STOP)]


def _plain_choices(spec: AnswerSpec, vocabulary: Vocabulary) -> list[Choice]:
    return [
        PlainChoice(index, detokenizer_for(vocabulary, spec.skip_special))
        for index in range(spec.num_choices)
    ]


def _choices(spec: AnswerSpec, vocabulary: Vocabulary, call_id: Callable[[], str]) -> list[Choice]:
    kept = PARSERS[spec.parser].markers if spec.parser else ()
    choices: list[Choice] = []
    for index in range(spec.num_choices):
        detokenizer = detokenizer_for(vocabulary, spec.skip_special, kept)
        stops = StopMatcher(spec.stops, spec.include_stop)
        sink = _sink(spec, index, call_id)
        calls_end = not isinstance(spec.tool_choice, Named)
        if spec.logprobs or spec.return_token_ids:
            trace = Trace(index, vocabulary, spec.logprobs, spec.return_token_ids)
            choices.append(TracedChoice(index, detokenizer, stops, sink, calls_end, trace))
        else:
            choices.append(StagedChoice(index, detokenizer, stops, sink, calls_end))
    return choices


def _sink(spec: AnswerSpec, index: int, call_id: Callable[[], str]) -> Sink:
    if spec.parser is None:
        return TextSink(index)
    parser = PARSERS[spec.parser](
        spec.tools,
        keep_markers=not spec.skip_special,
        without_arguments=spec.tools_without_arguments,
    )
    return CallSink(index, parser, spec.parallel_tool_calls, call_id)
