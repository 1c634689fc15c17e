"""What a grammar derives, and whether it derives a text: an engine's part, for tests."""

import random
from collections.abc import Iterator

from gateway.guides.ebnf import read_grammar
from gateway.guides.grammar import Characters, Choice, Literal, Node, Reference, Repeat, Sequence

SHALLOW = 12


class Grammar:
    """A grammar read from the notation that engines take."""

    def __init__(self, text: str) -> None:
        self._rules = read_grammar(text)
        self._heights: dict[str, float] = {}
        self._find_heights()

    def accepts(self, text: str) -> bool:
        known: dict[tuple[int, int], frozenset[int]] = {}
        return len(text) in self._ends(self._rules["root"], text, 0, known)

    def derive(self, draw: random.Random) -> str:
        """Return a text drawn at random, which beyond some depth goes the shortest way."""
        return "".join(self._derive(self._rules["root"], draw, 0))

    def _ends(
        self, node: Node, text: str, at: int, known: dict[tuple[int, int], frozenset[int]]
    ) -> frozenset[int]:
        key = (id(node), at)
        if key not in known:
            known[key] = frozenset(self._found(node, text, at, known))
        return known[key]

    def _found(  # noqa: C901
        self, node: Node, text: str, at: int, known: dict[tuple[int, int], frozenset[int]]
    ) -> Iterator[int]:
        match node:
            case Literal(word):
                yield from [at + len(word)] * text.startswith(word, at)
            case Characters(ranges):
                char = ord(text[at]) if at < len(text) else -1
                yield from [at + 1] * any(low <= char <= high for low, high in ranges)
            case Reference(name):
                yield from self._ends(self._rules[name], text, at, known)
            case Choice(options):
                for option in options:
                    yield from self._ends(option, text, at, known)
            case Sequence(items):
                ends = frozenset({at})
                for item in items:
                    ends = frozenset(e for s in ends for e in self._ends(item, text, s, known))
                yield from ends
            case Repeat(item, low, high):
                yield from self._repeated(item, low, high, text, at, known)

    def _repeated(
        self,
        item: Node,
        low: int,
        high: int | None,
        text: str,
        at: int,
        known: dict[tuple[int, int], frozenset[int]],
    ) -> Iterator[int]:
        ends, count, seen = frozenset({at}), 0, set[int]()
        while ends and (high is None or count <= high):
            if count >= low:
                yield from ends
                ends = ends - seen
                seen |= ends
            ends = frozenset(e for s in ends for e in self._ends(item, text, s, known))
            count += 1

    def _derive(  # noqa: C901
        self, node: Node, draw: random.Random, depth: int
    ) -> Iterator[str]:
        is_deep = depth > SHALLOW
        match node:
            case Literal(word):
                yield word
            case Characters(ranges):
                low, high = draw.choice(ranges)
                yield chr(draw.randint(low, min(high, low + 200)))
            case Reference(name):
                yield from self._derive(self._rules[name], draw, depth + 1)
            case Choice(options):
                shortest = min(options, key=self._height)
                yield from self._derive(shortest if is_deep else draw.choice(options), draw, depth)
            case Sequence(items):
                for item in items:
                    yield from self._derive(item, draw, depth)
            case Repeat(item, low, high):
                most = low if is_deep else low + 3 if high is None else high
                for _ in range(draw.randint(low, min(most, low + 40))):
                    yield from self._derive(item, draw, depth)

    def _height(self, node: Node) -> float:
        match node:
            case Reference(name):
                return 1 + self._heights.get(name, float("inf"))
            case Choice(options):
                return min(map(self._height, options))
            case Sequence(items):
                return max(map(self._height, items), default=0)
            case Repeat(item, low, _):
                return self._height(item) if low else 0
        return 0

    def _find_heights(self) -> None:
        for _ in self._rules:
            before = dict(self._heights)
            self._heights = {name: self._height(node) for name, node in self._rules.items()}
            if before == self._heights:
                break
