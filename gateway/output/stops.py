"""Stop strings, found in text as it arrives. Knows nothing of tokens."""

import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache


class StopMatcher:
    """Cuts a text at the stop string that is complete first.

    Of stops complete at the same character the longest counts, so the result is a property of
    the text and not of how it was cut into pieces. Only text that may still grow into a stop is
    held back. An empty stop never matches.
    """

    __slots__ = ("_automaton", "_held", "_include", "_state", "stopped")

    def __init__(self, stops: Sequence[str], include: bool = False) -> None:
        self._automaton = _compile(tuple(stops))
        self._include = include
        self._held = ""
        self._state = 0
        self.stopped = False

    def push(self, text: str) -> str:
        """Return what can be emitted; nothing after a stop was met."""
        if not self._state:
            if self.stopped or not self._automaton.may_begin(text):
                return "" if self.stopped else text
            return self._scan(text, 0)
        held, self._held = self._held, ""
        return self._scan(held + text, len(held))

    def flush(self) -> str:
        """Return what is held back: the text is over, so it is no stop."""
        held, self._held, self._state = self._held, "", 0
        return held

    def _scan(self, text: str, start: int) -> str:
        end, self._state, length = self._automaton.run(text, start, self._state)
        if length:
            self.stopped, self._state = True, 0
            return text[: end if self._include else end - length]
        cut = len(text) - self._automaton.depth[self._state]
        self._held = text[cut:]
        return text[:cut]


class _Automaton:
    """Aho-Corasick over the stops: a state is the longest end of the text that begins a stop."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._goto: list[dict[str, int]] = [{}]
        self._fail = [0]
        self._match = [0]
        self.depth = [0]
        for stop in filter(None, stops):
            self._add(stop)
        self._link()
        self._first = re.compile("|".join(map(re.escape, self._goto[0])) or "(?!)")
        self.may_begin = self._first.search

    def run(self, text: str, start: int, state: int) -> tuple[int, int, int]:
        """Return where reading ended, the state there, and the length of the stop met or 0."""
        goto, fail, position = self._goto, self._fail, start
        while position < len(text):
            if not state:
                found = self._first.search(text, position)
                if found is None:
                    return len(text), 0, 0
                position = found.start()
            char = text[position]
            while state and char not in goto[state]:
                state = fail[state]
            state = goto[state].get(char, 0)
            position += 1
            if self._match[state]:
                return position, state, self._match[state]
        return position, state, 0

    def _add(self, stop: str) -> None:
        state = 0
        for char in stop:
            if char not in self._goto[state]:
                self._goto[state][char] = len(self._goto)
                self._goto.append({})
                self._fail.append(0)
                self._match.append(0)
                self.depth.append(self.depth[state] + 1)
            state = self._goto[state][char]
        self._match[state] = len(stop)

    def _link(self) -> None:
        queue = deque(self._goto[0].values())
        while queue:
            state = queue.popleft()
            self._match[state] = self._match[state] or self._match[self._fail[state]]
            for char, child in self._goto[state].items():
                fallback = self._fail[state]
                while fallback and char not in self._goto[fallback]:
                    fallback = self._fail[fallback]
                self._fail[child] = self._goto[fallback].get(char, 0)
                queue.append(child)


_SHORT_CHARS = 64
_short = lru_cache(maxsize=256)(_Automaton)
_long = lru_cache(maxsize=8)(_Automaton)


def _compile(stops: tuple[str, ...]) -> _Automaton:
    """Return what finds these; those kept take 8 MB at most, some 400 bytes a character."""
    is_short = sum(map(len, stops)) <= _SHORT_CHARS
    return (_short if is_short else _long)(stops)
