"""Numbers between bounds, as the digits they are written with."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import Characters, Literal, Node, Reference, Repeat, choice, sequence

_MAX_DIGITS = 19
_MAX_DECIMALS = 6
_MORE_DECIMALS = 6

Digits = tuple[tuple[int, int], ...]
"""A range for each digit."""


def number_grammar(kind: str, schema: dict[str, Any]) -> Node:
    """Return the numbers, or whole numbers, of a schema. Raises Unenforceable."""
    step = schema.get("multipleOf", 1 if kind == "integer" else None)
    if step is not None and not (kind == "integer" and step == 1):
        raise Unenforceable("'multipleOf' is not enforced")
    low, above = _tighter(schema.get("minimum"), schema.get("exclusiveMinimum"), 1)
    high, below = _tighter(schema.get("maximum"), schema.get("exclusiveMaximum"), -1)
    if low is None and high is None:
        return Reference(kind)
    bounds = Bounds(low, high, above, below)
    return bounds.integer() if kind == "integer" else bounds.number()


class Bounds:
    """What a number must lie between; None is no bound."""

    def __init__(
        self, low: Fraction | None, high: Fraction | None, above: bool, below: bool
    ) -> None:
        limit = Fraction(10**_MAX_DIGITS - 1)
        self._above = above and low is not None and low > -limit
        self._below = below and high is not None and high < limit
        self._low = -limit if low is None else max(low, -limit)
        self._high = limit if high is None else min(high, limit)
        if self._low > limit or self._high < -limit:
            raise Unenforceable(f"bounds of more than {_MAX_DIGITS} digits are not enforced")

    def integer(self) -> Node:
        """Return the whole numbers within. Raises Unenforceable where there are none."""
        return _any_of(list(self._scaled(0)))

    def number(self) -> Node:
        """Return the numbers within, without exponents."""
        decimals = max(_decimals(self._low), _decimals(self._high))
        options = [option for shift in range(decimals + 1) for option in self._scaled(shift)]
        return _any_of([*options, *self._longer(decimals)])

    def _scaled(self, shift: int) -> Iterator[Node]:
        """Yield the numbers of `shift` decimals."""
        low, high = self._low * 10**shift, self._high * 10**shift
        first = -(-low.numerator // low.denominator)
        last = high.numerator // high.denominator
        first += self._above and first == low
        last -= self._below and last == high
        yield from _written(first, last, shift, ())

    def _longer(self, shift: int) -> Iterator[Node]:
        """Yield numbers of more decimals: their first digits alone decide that they are within."""
        low, high = self._low * 10**shift, self._high * 10**shift
        tail = _point_and_more(shift)
        yield from _nonnegative(max(int(low) + self._above, 0), int(high) - 1, shift, tail)
        for node in _nonnegative(max(int(-high) + self._below, 0), int(-low) - 1, shift, tail):
            yield sequence(Literal("-"), node)


def _decimals(bound: Fraction) -> int:
    for shift in range(_MAX_DECIMALS + 1):
        if (bound * 10**shift).denominator == 1:
            return shift
    raise Unenforceable(f"bounds of more than {_MAX_DECIMALS} decimals are not enforced")


def _any_of(options: list[Node]) -> Node:
    if not options:
        raise Unenforceable("no number lies between the bounds")
    return choice(*options)


def _point_and_more(shift: int) -> tuple[Node, ...]:
    more = Repeat(Characters(((0x30, 0x39),)), 1, _MORE_DECIMALS)
    return (more,) if shift else (Literal("."), more)


def _written(first: int, last: int, shift: int, tail: tuple[Node, ...]) -> Iterator[Node]:
    for node in _nonnegative(max(1, -last), -first, shift, tail):
        yield sequence(Literal("-"), node)
    yield from _nonnegative(max(0, first), last, shift, tail)


def _nonnegative(first: int, last: int, shift: int, tail: tuple[Node, ...]) -> Iterator[Node]:
    for digits in _spans(first, last, shift + 1):
        whole, decimals = digits[: len(digits) - shift], digits[len(digits) - shift :]
        point = [Literal(".")] * bool(shift)
        yield sequence(*_run(whole), *point, *_run(decimals), *tail)


def _run(digits: Digits) -> Iterator[Node]:
    """Yield the digits, ten free ones in a row as one node."""
    free = len(digits)
    while free and digits[free - 1] == (0, 9):
        free -= 1
    yield from (Characters(((0x30 + low, 0x30 + high),)) for low, high in digits[:free])
    if free < len(digits):
        count = len(digits) - free
        yield Repeat(Characters(((0x30, 0x39),)), count, count)


def _spans(first: int, last: int, min_width: int) -> Iterator[Digits]:
    """Yield ranges of digits that together spell exactly `first` to `last`.

    A number has at least `min_width` digits, zeros before it as needed.
    """
    while first <= last:
        width = max(len(str(first)), min_width)
        end = min(last, 10**width - 1)
        yield from _between(str(first).zfill(width), str(end).zfill(width))
        first = end + 1


def _between(first: str, last: str) -> Iterator[Digits]:
    if not first:
        yield ()
        return
    low, high = int(first[0]), int(last[0])
    rest = len(first) - 1
    if low == high:
        yield from (((low, low), *digits) for digits in _between(first[1:], last[1:]))
        return
    if first[1:] != "0" * rest:
        yield from (((low, low), *digits) for digits in _between(first[1:], "9" * rest))
        low += 1
    is_cut = last[1:] != "9" * rest
    if low <= high - is_cut:
        yield ((low, high - is_cut), *((0, 9),) * rest)
    if is_cut:
        yield from (((high, high), *digits) for digits in _between("0" * rest, last[1:]))


def _tighter(inclusive: Any, exclusive: Any, sign: int) -> tuple[Fraction | None, bool]:
    """Return the bound that counts, and whether it is itself left out."""
    if exclusive is True:  # as before draft 6
        return _fraction(inclusive), True
    one = _fraction(inclusive)
    other = _fraction(None if exclusive is False else exclusive)
    if other is None or (one is not None and one * sign > other * sign):
        return one, False
    return other, True


def _fraction(bound: Any) -> Fraction | None:
    if bound is None:
        return None
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise Unenforceable("a bound of a number is not a number")
    if abs(bound) > 1e300:
        raise Unenforceable("a bound of a number is too large")
    return Fraction(str(bound))
