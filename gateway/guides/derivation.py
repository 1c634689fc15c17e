"""What rules derive: any text at all, nothing, themselves. In time linear in the rules."""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from gateway.guides.grammar import (
    ROOT,
    Characters,
    Choice,
    Literal,
    Node,
    Reference,
    Repeat,
    Rules,
    Sequence,
)

_Leaf = Literal | Characters


def is_productive(rules: Rules) -> bool:
    """Whether `root` derives any text at all."""
    return ROOT in _derivable(rules, lambda _: True)


def left_recursive(rules: Rules) -> str | None:
    """Return a rule that may begin with itself, if there is one."""
    empty = _derivable(rules, lambda leaf: isinstance(leaf, Literal) and not leaf.text)
    begins: dict[str, set[str]] = {name: set() for name in rules}
    for name, node in rules.items():
        _begin(node, empty, begins[name])
    waiting = Counter(other for others in begins.values() for other in others)
    free = [name for name in rules if not waiting[name]]
    while free:
        for other in begins.pop(free.pop()):
            waiting[other] -= 1
            if not waiting[other]:
                free.append(other)
    return _on_a_circle(begins) if begins else None


def _on_a_circle(begins: dict[str, set[str]]) -> str:
    """Return a rule on a circle, where another rule begins with each."""
    before = {other: name for name, others in begins.items() for other in others}
    name, seen = next(iter(begins)), set[str]()
    while name not in seen:
        seen.add(name)
        name = before[name]
    return name


def _begin(node: Node, empty: set[str], found: set[str]) -> bool:
    """Add the rules that a node can begin with; return whether it derives the empty text."""
    match node:
        case Reference(name):
            found.add(name)
            return name in empty
        case Sequence(items):
            return all(_begin(item, empty, found) for item in items)
        case Choice(options):
            return any([_begin(option, empty, found) for option in options])
        case Repeat(item, low, _):
            return _begin(item, empty, found) or not low
        case Literal(text):
            return not text
    return False


def _derivable(rules: Rules, is_met: Callable[[_Leaf], bool]) -> set[str]:
    """Return the rules that derive something of leaves that are met.

    Each tells those that wait for it, once.
    """
    waiting: defaultdict[str, list[_Need]] = defaultdict(list)
    ready: list[str] = []
    for name, node in rules.items():
        _ask(node, _Need(None, name, 1), waiting, ready, is_met)
    known: set[str] = set()
    while ready:
        name = ready.pop()
        if name not in known:
            known.add(name)
            for need in waiting.pop(name, ()):
                need.meet(ready)
    return known


@dataclass(slots=True)
class _Need:
    """What must be derived before a node is: `missing` of its parts, or none any more."""

    above: "_Need | None"
    rule: str
    missing: int

    def meet(self, ready: list[str]) -> None:
        need: _Need | None = self
        while need is not None:
            need.missing -= 1
            if need.missing:
                return
            if need.above is None:
                ready.append(need.rule)
            need = need.above


def _ask(
    node: Node,
    need: _Need,
    waiting: defaultdict[str, list[_Need]],
    ready: list[str],
    is_met: Callable[[_Leaf], bool],
) -> None:
    match node:
        case Reference(name):
            waiting[name].append(need)
        case Sequence(items) if items:
            parts = _Need(need, need.rule, len(items))
            for item in items:
                _ask(item, parts, waiting, ready, is_met)
        case Choice(options):
            any_part = _Need(need, need.rule, 1)
            for option in options:
                _ask(option, any_part, waiting, ready, is_met)
        case Repeat(item, low, _) if low:
            _ask(item, need, waiting, ready, is_met)
        case _ if not isinstance(node, _Leaf) or is_met(node):
            need.meet(ready)
