"""Regular expressions of the kind that all engines take, as grammars. Runs none.

What is left out cannot be enforced token by token (looking around, references back, word
boundaries) or means something else to each engine (flags, classes of Unicode).
"""

from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import (
    Characters,
    Node,
    Ranges,
    Repeat,
    choice,
    complement,
    sequence,
    united,
)
from gateway.traffic.size import MAX_REGEX

_MAX_DEPTH = 50
_MAX_REPEAT = 10_000
_MAX_COST = 100_000

_DIGIT: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = ((0x09, 0x0D), (0x20, 0x20))
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CLASSES |= {name.upper(): complement(ranges) for name, ranges in _CLASSES.items()}
_CONTROLS = {"n": 0x0A, "r": 0x0D, "t": 0x09, "f": 0x0C, "v": 0x0B}
_ANY = complement(((0x0A, 0x0A),))
_HEX = {"x": 2, "u": 4}
_SIGNS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def pattern_grammar(pattern: str) -> Node:
    """Return the texts that a pattern matches from start to end.

    Anchors are taken where they say just that: at the start and at the end of a branch of the
    whole. Raises Unenforceable.
    """
    if len(pattern) > MAX_REGEX:
        raise Unenforceable(f"a regular expression may have {MAX_REGEX} characters")
    parser = _Parser(pattern)
    node, _ = parser.branches(0)
    if parser.peek():
        raise parser.refusal("a parenthesis is closed that was not opened")
    return node


class _Parser:
    """Reads a pattern once, from left to right; a node comes with its cost, repeats counted."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def refusal(self, reason: str) -> Unenforceable:
        return Unenforceable(f"{reason}, at character {self._at} of the regular expression")

    def peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def branches(self, depth: int) -> tuple[Node, int]:
        if depth > _MAX_DEPTH:
            raise self.refusal(f"groups are nested deeper than {_MAX_DEPTH}")
        options, cost = [], 0
        while True:
            option, part = self._branch(depth)
            options.append(option)
            cost += part
            if not self._takes("|"):
                return choice(*options), cost

    def _branch(self, depth: int) -> tuple[Node, int]:
        items: list[Node] = []
        cost = 1
        if depth == 0:
            self._takes("^")
        while self.peek() not in ("", "|", ")"):
            if depth == 0 and self._is_end_anchor():
                self._at += 1
                break
            item, part = self._repeated(*self._atom(depth))
            items.append(item)
            cost += part
        return sequence(*items), cost

    def _is_end_anchor(self) -> bool:
        return self.peek() == "$" and self._pattern[self._at + 1 : self._at + 2] in ("", "|")

    def _atom(self, depth: int) -> tuple[Node, int]:
        char = self._next()
        if char == "(":
            self._group_kind()
            node, cost = self.branches(depth + 1)
            if not self._takes(")"):
                raise self.refusal("a parenthesis is not closed")
            return node, cost
        if char == "[":
            return Characters(self._class()), 1
        if char == ".":
            return Characters(_ANY), 1
        if char == "\\":
            return Characters(self._escape()), 1
        if char in "*+?{":
            raise self.refusal("there is nothing to repeat")
        if char in "^$":
            raise self.refusal(f"{char!r} can only stand at the start or the end of the whole")
        return Characters(((ord(char), ord(char)),)), 1

    def _group_kind(self) -> None:
        if not self._takes("?"):
            return
        if self._takes(":"):
            return
        self._takes("P")
        if not self._takes("<") or self.peek() in ("=", "!"):
            raise self.refusal(
                "only groups and named groups are known, no looking around, no flags"
            )
        end = self._pattern.find(">", self._at, self._at + 64)
        if end < 0 or not self._pattern[self._at : end].isidentifier():
            raise self.refusal("a group has no proper name")
        self._at = end + 1

    def _repeated(self, node: Node, cost: int) -> tuple[Node, int]:
        bounds = self._bounds()
        if bounds is None:
            return node, cost
        self._takes("?")  # lazy or not, the texts are the same
        if self.peek() in ("*", "+", "?"):
            raise self.refusal("a repetition is repeated")
        low, high = bounds
        if high is not None and low > high:
            raise self.refusal("a repetition has more at least than at most")
        cost *= max(low, high or 1, 1)
        if max(low, high or 0) > _MAX_REPEAT or cost > _MAX_COST:
            raise self.refusal("repetitions make it too large")
        return Repeat(node, low, high), cost

    def _bounds(self) -> tuple[int, int | None] | None:
        char = self.peek()
        if char in _SIGNS and char:
            self._at += 1
            return _SIGNS[char]
        if char != "{":
            return None
        end = self._pattern.find("}", self._at, self._at + 32)
        low, comma, high = self._pattern[self._at + 1 : max(end, 0)].partition(",")
        numbers = [number for number in (low, high) if number]
        if (
            end < 0
            or not all(n.isascii() and n.isdigit() and len(n) < 7 for n in numbers)
            or not low
        ):
            raise self.refusal("a repetition is not of the form {n}, {n,} or {n,m}")
        self._at = end + 1
        return int(low), int(high) if high else None if comma else int(low)

    def _class(self) -> Ranges:
        negated = self._takes("^")
        ranges: list[tuple[int, int]] = []
        if self.peek() == "]":
            raise self.refusal("a class of characters is empty")
        while not self._takes("]"):
            part = self._class_part()
            if self.peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("", "]"):
                self._at += 1
                part = self._span(part, self._class_part())
            ranges += part
        if not negated:
            return united(tuple(ranges))
        if others := complement(tuple(ranges)):
            return others
        raise self.refusal("a class of characters leaves none")

    def _class_part(self) -> Ranges:
        char = self._next()
        if char == "[" and self.peek() == ":":
            raise self.refusal("named classes are not known")
        return self._escape() if char == "\\" else ((ord(char), ord(char)),)

    def _span(self, first: Ranges, last: Ranges) -> Ranges:
        if len(first) != 1 or len(last) != 1 or first[0][0] > last[0][0]:
            raise self.refusal("a range of characters does not go up")
        if first[0][0] != first[0][1] or last[0][0] != last[0][1]:
            raise self.refusal("a range of characters has a class for an end")
        return ((first[0][0], last[0][0]),)

    def _escape(self) -> Ranges:
        char = self._next()
        if char in _CLASSES:
            return _CLASSES[char]
        number = _CONTROLS.get(char)
        if char in _HEX:
            number = self._hex(_HEX[char])
        elif number is None and not char.isalnum():
            number = ord(char)
        if number is None or 0xD800 <= number <= 0xDFFF:
            raise self.refusal(f"'\\{char}' is not known")
        return ((number, number),)

    def _hex(self, num_digits: int) -> int:
        digits = self._pattern[self._at : self._at + num_digits]
        if len(digits) != num_digits or any(d not in "0123456789abcdefABCDEF" for d in digits):
            raise self.refusal(f"an escape needs {num_digits} hexadecimal digits")
        self._at += num_digits
        return int(digits, 16)

    def _next(self) -> str:
        char = self.peek()
        if not char:
            raise self.refusal("it breaks off")
        self._at += 1
        return char

    def _takes(self, char: str) -> bool:
        found = self.peek() == char
        self._at += found
        return found
