"""Which replica has which prefixes of prompts in its KV cache: predicted, and set right. Pure.

A prompt is known by its prefixes up to its last few control tokens: there its turns end, and there
the next request of a conversation goes on.
"""

import zlib
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

MAX_MARKS = 16
MAX_KNOWN = 16_384
MAX_TALKS = 16_384
SLACK_TOKENS = 64
"""By how much less may be told than was predicted: blocks are reused whole, the last never."""


ENOUGH = 8
"""Replicas that hold something of a prompt, beyond which no more are looked for."""


class Expected(NamedTuple):
    """Tokens of a prompt that should be in a KV cache, and when they were last sent there."""

    num_tokens: int
    last_used: int


NOTHING_EXPECTED = Expected(0, 0)


class Known(NamedTuple):
    """What is known of a prompt: the tokens of it that replicas should have, by replica.

    `home` is the replica that the last request of its conversation went to; 0 is none.
    """

    tokens: Mapping[int, int]
    home: int = 0


NOTHING_KNOWN = Known({})


class Mark(NamedTuple):
    """A prefix of a prompt: how many tokens it has, and a checksum of them."""

    num_tokens: int
    checksum: int


def marks_of(packed: bytes, control_ids: Collection[int]) -> tuple[Mark, ...]:
    """Return the prefixes of a prompt, packed as INT32, that end with a control token: longest
    first, the longest few and the shortest two. Linear in what is given, at the speed of C."""
    ends = sorted({end for token_id in control_ids for end in _ends(packed, token_id)})
    kept = ends if len(ends) <= MAX_MARKS else [*ends[:2], *ends[2 - MAX_MARKS :]]
    view, checksum, start, marks = memoryview(packed), 0, 0, []
    for end in kept:
        checksum = zlib.crc32(view[start:end], checksum)
        marks.append(Mark(end // 4, checksum))
        start = end
    return tuple(reversed(marks))


def _ends(packed: bytes, token_id: int) -> list[int]:
    """Return where a token ends in a packed prompt, in bytes: the first two and the last few."""
    token = token_id.to_bytes(4, "little", signed=True)
    first: list[int] = []
    last: list[int] = []
    at = -1
    while len(first) < 2 and (at := packed.find(token, at + 1)) >= 0:
        if at % 4 == 0:
            first.append(at + 4)
    at = len(packed)
    while len(last) < MAX_MARKS and (at := packed.rfind(token, 0, at)) >= 0:
        if at % 4 == 0:
            last.append(at + 4)
        at += 3  # the next may overlap with what was found
    return [*first, *last]


class Prefixes:
    """What was sent where. Replicas are numbers, another one for each life of a replica."""

    def __init__(self) -> None:
        self._held: dict[int, OrderedDict[Mark, int]] = {}
        self._holders: dict[Mark, set[int]] = {}
        self._talks: OrderedDict[Mark | str, tuple[int, int]] = OrderedDict()
        self._clock = 0

    def predict(self, marks: Sequence[Mark], session: str, prompt_tokens: int) -> Known:
        """Return how many tokens of a prompt are expected in the KV cache, and its home.

        Those that hold most are enough. A prompt goes on with a conversation where it begins with
        all of an earlier one, up to its last control token; else its session tells.
        """
        found: dict[int, int] = {}
        for mark in marks:
            for holder in self._holders.get(mark, ()):
                found.setdefault(holder, mark.num_tokens)
            if len(found) >= ENOUGH:
                break
        if session and (known := self._talks.get(session)):
            found.setdefault(known[0], min(known[1], prompt_tokens))
        keys: list[Mark | str] = [*marks, session]
        home = next((self._talks[key][0] for key in keys if key in self._talks), 0)
        return Known(found, home)

    def note(
        self, holder: int, marks: Sequence[Mark], session: str, prompt_tokens: int
    ) -> "Expected":
        """Note that a prompt goes to a replica; return what is expected to be there already."""
        self._clock += 1
        held = self._held.setdefault(holder, OrderedDict())
        expected = self._expected(holder, held, marks, session, prompt_tokens)
        for mark in marks:
            held[mark] = self._clock
            held.move_to_end(mark)
            self._holders.setdefault(mark, set()).add(holder)
        while len(held) > MAX_KNOWN:
            self._let_go(holder, held.popitem(last=False)[0])
        keys: list[Mark | str] = [*marks[:1], *([session] if session else [])]
        for key in keys:
            self._talks[key] = holder, prompt_tokens
            self._talks.move_to_end(key)
        while len(self._talks) > MAX_TALKS:
            self._talks.popitem(last=False)
        return expected

    def correct(self, holder: int, since: int) -> None:
        """Forget what a replica has not used since a prompt went there that it no longer held.

        Caches drop what was not used for longest: what is older than that is gone as well.
        """
        held = self._held.get(holder)
        while held:
            mark, used = next(iter(held.items()))
            if used > since:
                break
            del held[mark]
            self._let_go(holder, mark)

    def forget(self, holder: int) -> None:
        """Forget all of a replica whose life is over."""
        for mark in self._held.pop(holder, ()):
            self._let_go(holder, mark)

    def _expected(
        self,
        holder: int,
        held: Mapping[Mark, int],
        marks: Sequence[Mark],
        session: str,
        prompt_tokens: int,
    ) -> "Expected":
        for mark in marks:
            if mark in held:
                return Expected(mark.num_tokens, held[mark])
        known = self._talks.get(session) if session else None
        if known and known[0] == holder:
            return Expected(min(known[1], prompt_tokens), 0)
        return NOTHING_EXPECTED

    def _let_go(self, holder: int, mark: Mark) -> None:
        holders = self._holders[mark]
        holders.discard(holder)
        if not holders:
            del self._holders[mark]
