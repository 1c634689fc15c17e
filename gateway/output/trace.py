"""The tokens behind a text: ids and log probabilities, reported with what they contributed to."""

from collections import deque

from gateway.generation import Tops
from gateway.output.events import Content, Event, TokenLogprob
from gateway.output.vocabulary import Vocabulary

IMPOSSIBLE = -9999.0
"""OpenAI's log probability of a token that could not be: minus infinity has no form in JSON."""


class Trace:
    """Holds each token until a character it contributed to is emitted.

    A token contributes to the first character that it begins or completes. One that is wholly
    inside or after a stop string that is cut contributes to nothing, and is never reported.
    """

    __slots__ = ("_emitted", "_ids", "_index", "_logprobs", "_read", "_tokens", "_vocabulary")

    def __init__(self, index: int, vocabulary: Vocabulary, logprobs: bool, ids: bool) -> None:
        self._index = index
        self._vocabulary = vocabulary
        self._logprobs = logprobs
        self._ids = ids
        self._tokens: deque[tuple[int, int, float, Tops]] = deque()
        self._read = self._emitted = 0

    def add(self, token_id: int, logprob: float, read: int, emitted: int, tops: Tops) -> None:
        """Note a token that completed `read` characters, and that `emitted` ones were let go."""
        self._tokens.append((self._read, token_id, logprob, tops))
        self._read += read
        self._emitted += emitted

    def annotate(self, events: list[Event]) -> list[Event]:
        """Report the tokens that are due with the first content of `events`."""
        tokens = []
        while self._tokens and self._tokens[0][0] < self._emitted:
            tokens.append(self._tokens.popleft())
        if not tokens:
            return events
        ids = [token_id for _, token_id, _, _ in tokens] if self._ids else []
        logprobs = (
            [token_logprob(self._vocabulary, t, p, top) for _, t, p, top in tokens]
            if self._logprobs
            else []
        )
        rest, text = events, ""
        if events and isinstance(events[0], Content):
            rest, text = events[1:], events[0].text
        return [Content(self._index, text, logprobs, ids), *rest]

    def annotate_end(self, events: list[Event], emitted: int, stopped: bool) -> list[Event]:
        """Report the last tokens; without a stop that is every one not yet reported."""
        self._emitted = self._emitted + emitted if stopped else self._read + 1
        return self.annotate(events)


def token_logprob(
    vocabulary: Vocabulary, token_id: int, logprob: float, tops: Tops = ()
) -> TokenLogprob:
    """Return what is told of a token."""
    data = vocabulary.token(token_id)
    told = logprob if IMPOSSIBLE < logprob < -IMPOSSIBLE else IMPOSSIBLE
    others = tuple([token_logprob(vocabulary, *top) for top in tops])
    return TokenLogprob(data.decode(errors="replace"), data, told, others)
