"""Callers' strings made harmless while a chat template works on them. Knows no Jinja.

A template mixes its own control tokens with callers' strings into one text. To tell them apart
afterwards, the characters that open and close control tokens are replaced in callers' strings by
lone surrogates, which no valid text holds. They survive trimming, JSON, slicing, joining and
changes of case, and no control token can be spelled without the originals.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.prompt.functions import Unread
from gateway.prompt.tokenizer import well_formed

# Written behind a text, it tells where the text ends; like the mark below, restoring drops it.
END = "\ud800"
_MARK = "\ud801"
_FIRST_STAND_IN = 0xDC00
_MAX_STAND_INS = 0x400
# Where a template's own text may continue with something else: %s, {name}.
_PLACEHOLDER = re.compile(r"%\w|\{[^{}]*\}")


class Guard:
    """Protects values before a template sees them, restores them in what it wrote.

    A template whose own strings end inside a control token ('<|' + role + '|>') could be fed the
    token's middle; for such a template, told by its string `constants`, those words are marked.
    """

    def __init__(self, control: Iterable[str], constants: Iterable[str]) -> None:
        tokens = [token.strip() for token in control]
        edges = sorted({edge for token in tokens for edge in (token[0], token[-1])})
        if len(edges) > _MAX_STAND_INS:
            raise ValueError(f"control tokens open and close with {len(edges)} characters")
        # Character by character, but not by a table: that takes thirty times as long.
        self._stand_ins = [(edge, chr(_FIRST_STAND_IN + i)) for i, edge in enumerate(edges)]
        self._originals = [(END, ""), (_MARK, "")]
        self._originals += [(stand_in, edge) for edge, stand_in in self._stand_ins]
        breaks_off = _breaks_off_inside(tokens, constants)
        self._middles = "\n".join(token[1:-1].casefold() for token in tokens if breaks_off)

    def protect(self, value: Any) -> Any:
        """Return a JSON-like value with every string in it, keys included, made harmless."""
        if isinstance(value, str):
            return self._protect_text(value)
        if isinstance(value, Unread):
            return Unread(self._protect_text(value.text))
        if isinstance(value, Mapping):
            return {self.protect(key): self.protect(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.protect(item) for item in value]
        return value

    def contains(self, text: str, part: str) -> bool:
        """Whether a template that searches `text` for `part` would find it without the guard."""
        return self.restore(part) in self.restore(text)

    def as_in(self, text: str, part: str) -> str:
        """Return `part` as it stands in `text`: made harmless where it is a caller's there."""
        harmless = _replaced(part, self._stand_ins)
        return harmless if harmless in text else part

    def restore(self, text: str) -> str:
        """Return the text as the caller wrote it."""
        return text if text.isascii() else _replaced(text, self._originals)

    def _protect_text(self, text: str) -> str:
        text = well_formed(text)
        core = text.strip()
        if core and len(core) <= len(self._middles) and core.casefold() in self._middles:
            text = text.replace(core, _MARK.join(["", *core]), 1)
        return _replaced(text, self._stand_ins)


def _replaced(text: str, pairs: Iterable[tuple[str, str]]) -> str:
    for found, instead in pairs:
        text = text.replace(found, instead)
    return text


def _breaks_off_inside(tokens: Iterable[str], constants: Iterable[str]) -> bool:
    starts = {token[:length] for token in tokens for length in range(1, len(token))}
    longest = max(map(len, starts), default=0)
    whole = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or r"(?!)")
    ends = {
        part[-length:]
        for constant in constants
        for part in _PLACEHOLDER.split(whole.sub("\n", constant))
        for length in range(1, min(longest, len(part)) + 1)
    }
    return not starts.isdisjoint(ends)
