"""Grammars that callers write, read to be sure that engines can: nothing is changed in them.

The part of xgrammar's notation that all its releases in use take: rules, literals, classes of
characters, groups, `|`, `*`, `+`, `?`, `{n,m}` and comments; no macros and no looking ahead.
"""

import re
from dataclasses import dataclass

from gateway.guides.derivation import is_productive, left_recursive
from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import (
    NOTHING,
    Characters,
    Literal,
    Node,
    Reference,
    Repeat,
    Rules,
    choice,
    complement,
    sequence,
    united,
)

_MAX_DEPTH = 50
_MAX_REPEAT = 10_000
_MAX_COST = 200_000

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|\#[^\n\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*)"""
    r"""|(?P<rule>[A-Za-z_][A-Za-z0-9_.-]*)(?P<defined>[ \t]*::=)?"""
    r"""|(?P<literal>"[^"\\\x00-\x1f\x7f]*(?:\\[^\x00-\x1f\x7f][^"\\\x00-\x1f\x7f]*)*")"""
    r"""|(?P<characters>\[[^\]\\\x00-\x1f\x7f]*(?:\\[^\x00-\x1f\x7f][^\]\\\x00-\x1f\x7f]*)*\])"""
    r"""|(?P<times>\{[ ]*[0-9]{1,6}[ ]*(?:,[ ]*(?:[0-9]{1,6})?[ ]*)?\})"""
    r"""|(?P<sign>[()|*+?])"""
)
_ESCAPE = re.compile(
    r"""\\(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<c>[\s\S]))"""
)
_NAMED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_NAMED_IN_CLASS = {**_NAMED, "]": "]", "-": "-", "^": "^"}
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def check_grammar(text: str) -> None:
    """Return if engines can take a grammar and it derives something; else raise Unenforceable."""
    read_grammar(text)


def read_grammar(text: str) -> Rules:
    """Return the rules of a grammar, in time linear in its length. Raises Unenforceable."""
    reader = _Reader(_tokens(text))
    rules = reader.rules()
    if "root" not in rules:
        raise Unenforceable("a grammar needs a rule 'root'")
    for name, line in reader.named:
        if name not in rules:
            raise Unenforceable(f"line {line}: there is no rule {name[:64]!r}")
    if not is_productive(rules):
        raise Unenforceable("its rule 'root' derives no text that ends")
    circular = left_recursive(rules)
    if circular is not None:
        raise Unenforceable(f"the rule {circular[:64]!r} can begin with itself, without an end")
    return rules


def _tokens(text: str) -> list[_Token]:
    tokens, position, line = [], 0, 1
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            raise Unenforceable(f"line {line}: {text[position : position + 20]!r} is not expected")
        kind = "defined" if found["defined"] else str(found.lastgroup)
        if kind == "defined" and text[text.rfind("\n", 0, position) + 1 : position].strip():
            raise Unenforceable(f"line {line}: a rule begins on a line of its own")
        if kind != "space":
            tokens.append(_Token(kind, found["rule"] or found[0], line))
        line += found[0].count("\n")
        position = found.end()
    return tokens


class _Reader:
    """Reads tokens once, from left to right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._cost = 0
        self.named: list[tuple[str, int]] = []

    def rules(self) -> dict[str, Node]:
        rules: dict[str, Node] = {}
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind != "defined":
                raise self._refusal("a rule is expected, 'name ::= ...'")
            if token.text in rules:
                raise self._refusal(f"the rule {token.text[:64]!r} is defined twice")
            self._at += 1
            rules[token.text], _ = self._choice(0)
        return rules

    def _refusal(self, reason: str) -> Unenforceable:
        last = self._tokens[min(self._at, len(self._tokens) - 1)] if self._tokens else None
        return Unenforceable(f"line {last.line if last else 1}: {reason}")

    def _peek(self, *texts: str) -> bool:
        is_there = self._at < len(self._tokens) and self._tokens[self._at].kind == "sign"
        return is_there and self._tokens[self._at].text in texts

    def _choice(self, depth: int) -> tuple[Node, int]:
        if depth > _MAX_DEPTH:
            raise self._refusal(f"groups are nested deeper than {_MAX_DEPTH}")
        options, cost = [], 0
        while True:
            option, part = self._sequence(depth)
            options.append(option)
            cost += part
            if not self._peek("|"):
                return choice(*options), cost
            self._at += 1

    def _sequence(self, depth: int) -> tuple[Node, int]:
        items: list[Node] = []
        cost = 0
        while self._at < len(self._tokens) and not self._peek("|", ")"):
            if self._tokens[self._at].kind == "defined":
                break
            item, part = self._repeated(*self._item(depth))
            items.append(item)
            cost += part
        if not items:
            raise self._refusal('something is expected; nothing is written ""')
        return sequence(*items), cost

    def _item(self, depth: int) -> tuple[Node, int]:
        token = self._tokens[self._at]
        self._at += 1
        match token.kind:
            case "rule":
                self.named.append((token.text, token.line))
                return Reference(token.text), 1
            case "literal":
                return Literal(_unescaped(token)), 1
            case "characters":
                return _characters(token), 1
            case "sign" if token.text == "(":
                return self._group(depth)
        self._at -= 1
        raise self._refusal(f"{token.text!r} stands alone")

    def _group(self, depth: int) -> tuple[Node, int]:
        if self._peek(")"):
            self._at += 1
            return NOTHING, 1
        node, cost = self._choice(depth + 1)
        if not self._peek(")"):
            raise self._refusal("a parenthesis is not closed")
        self._at += 1
        return node, cost

    def _repeated(self, node: Node, cost: int) -> tuple[Node, int]:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None or not (token.kind == "times" or token.text in _SIGNS):
            return node, cost
        low, high = _bounds(token)
        cost *= max(low, high or 1, 1)
        if high is not None and low > high:
            raise self._refusal("a repetition has more at least than at most")
        if max(low, high or 0) > _MAX_REPEAT or cost > _MAX_COST:
            raise self._refusal("repetitions make it too large")
        self._at += 1
        return Repeat(node, low, high), cost


def _bounds(token: _Token) -> tuple[int, int | None]:
    if token.text in _SIGNS:
        return _SIGNS[token.text]
    low, comma, high = (part.strip() for part in token.text[1:-1].partition(","))
    return int(low), int(high) if high else None if comma else int(low)


def _unescaped(token: _Token) -> str:
    return _ESCAPE.sub(lambda found: _escaped(found, token, _NAMED), token.text[1:-1])


def _escaped(found: re.Match[str], token: _Token, named: dict[str, str]) -> str:
    digits = found["x"] or found["u"] or found["U"]
    if digits:
        number = int(digits, 16)
        if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
            return chr(number)
    elif found["c"] in named:
        return named[found["c"]]
    raise Unenforceable(f"line {token.line}: the escape {found[0]!r} is not known")


def _characters(token: _Token) -> Node:
    body = token.text[1:-1]
    negated = body.startswith("^")
    chars = _class_characters(body[negated:], token)
    ranges, i = [], 0
    while i < len(chars):
        is_range = i + 2 < len(chars) and chars[i + 1] == "-" and len(chars[i + 1]) == 1
        low, high = chars[i][-1], chars[i + 2][-1] if is_range else chars[i][-1]
        if low > high:
            raise Unenforceable(f"line {token.line}: a range of characters does not go up")
        ranges.append((ord(low), ord(high)))
        i += 3 if is_range else 1
    if any(high > 0x7F for _, high in ranges):
        raise Unenforceable(
            f"line {token.line}: a class of characters holds some beyond ASCII, which not every "
            "engine reads alike; write them as literals"
        )
    if not ranges and not negated:
        raise Unenforceable(f"line {token.line}: a class of characters is empty")
    return Characters(complement(tuple(ranges)) if negated else united(tuple(ranges)))


def _class_characters(body: str, token: _Token) -> list[str]:
    """Return each character of a class; one that was escaped has a backslash before it."""
    chars, position = [], 0
    while position < len(body):
        found = _ESCAPE.match(body, position)
        if found:
            chars.append("\\" + _escaped(found, token, _NAMED_IN_CLASS))
        else:
            chars.append(body[position])
        position = found.end() if found else position + 1
    return chars
