"""A text that arrives in pieces, read as if it were whole. Knows nothing of tools."""

import re
from collections.abc import Generator, Iterable
from typing import TypeVar

from gateway.traffic.size import MAX_HELD

T = TypeVar("T")
Reading = Generator[None, None, T]
"""A step of reading: it yields where the text so far ends, and returns what it read."""


class Reader:
    """The text fed so far, a position in it, and what was read since it was last taken.

    More may be fed only when everything before is read: at a `yield`. Where `MAX_HELD` characters
    were read and not taken, the text is over until they are.
    """

    def __init__(self) -> None:
        self._piece = ""
        self._position = 0
        self._kept: list[str] = []
        self._num_kept = 0
        self._from = 0
        self.is_closed = False

    def feed(self, text: str) -> None:
        self._keep(self._piece[self._from :])
        self._piece, self._position, self._from = text, 0, 0

    def close(self) -> None:
        """Say that the text is over: nothing yields from here on."""
        self.is_closed = True

    def take(self) -> str:
        """Return what was read since the last time, once."""
        self._kept.append(self._piece[self._from : self._position])
        text = "".join(self._kept)
        self._kept.clear()
        self._num_kept = 0
        self._from = self._position
        return text

    def give_back(self, text: str) -> None:
        """Undo a `take`: `text` comes before what was read since."""
        self._kept.insert(0, text)
        self._num_kept += len(text)

    def skip(self) -> None:
        """Read the character that `peek` returned."""
        self._position += 1

    def replace(self, text: str) -> None:
        """Read the character that `peek` returned as if it were `text`."""
        self._keep(self._piece[self._from : self._position])
        self._keep(text)
        self._position += 1
        self._from = self._position

    def peek(self) -> Reading[str]:
        """Return the next character without reading it; empty where the text is over."""
        while self._position == len(self._piece):
            if self._is_over():
                return ""
            yield
        return self._piece[self._position]

    def _keep(self, text: str) -> None:
        self._kept.append(text)
        self._num_kept += len(text)

    def _is_over(self) -> bool:
        return self.is_closed or self._num_kept > MAX_HELD

    def run(self, pattern: re.Pattern[str]) -> Reading[None]:
        """Read as long as the characters match `pattern`, one class of characters, starred."""
        while True:
            found = pattern.match(self._piece, self._position)
            self._position = found.end() if found else self._position
            if self._position < len(self._piece) or self._is_over():
                return
            yield

    def one_of(self, options: Iterable[str]) -> Reading[str]:
        """Read one of `options`, or only as far as one may follow and return the empty string."""
        seen, left = "", list(options)
        while True:
            char = yield from self.peek()
            seen += char
            left = [option for option in left if option.startswith(seen)]
            if not char or not left:
                return ""
            self.skip()
            if seen in left:
                return seen

    def word(self, options: Iterable[str], ends: str) -> Reading[str]:
        """Read one of `options` up to one of the characters `ends`, as `one_of` does."""
        seen, left = "", list(options)
        while True:
            char = yield from self.peek()
            if char and char in ends:
                return seen if seen in left else ""
            seen += char
            left = [option for option in left if option.startswith(seen)]
            if not char or not left:
                return ""
            self.skip()

    def quoted(self, quote: str, inside: re.Pattern[str]) -> Reading[None]:
        """Read to the end of a string, its opening quote read; a backslash escapes any character.

        `inside` matches what is neither the quote nor a backslash.
        """
        while True:
            yield from self.run(inside)
            char = yield from self.peek()
            self._position += bool(char)
            if char in ("", quote):
                return
            if (yield from self.peek()):
                self.skip()
