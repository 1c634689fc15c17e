"""How few tokens a text can be: known from the vocabulary's longest tokens, without encoding."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tokenizers

from gateway.prompt.plaintext import is_control

_LETTERS = bytes([*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1)])
_DIGITS = b"0123456789"
_SPACE = b" \t\n\r"
_BEYOND_ASCII = bytes(range(0x80, 0x100))
_OTHERS = bytes(set(range(0x80)) - {*_LETTERS, *_DIGITS, *_SPACE})
_KINDS = (_LETTERS, _DIGITS, _SPACE, _BEYOND_ASCII, _OTHERS)
_ALL = frozenset(range(0x100))

# Steps after which every byte of a text is in some token. Of the normalizers, those of Unicode
# leave ASCII as it is.
_UNICODE = frozenset({"NFC", "NFD", "NFKC", "NFKD"})
_SPACING = frozenset({"Prepend", "Replace"})
_SPLITTING = frozenset({"ByteLevel", "Digits", "Metaspace", "Split"})


class Widths:
    """The most bytes of each kind that one token holds: a longer text has several tokens.

    Bytes without a token of their own do not count: some vocabularies drop what they lack.
    """

    def __init__(self, tokens: Sequence[bytes], ascii_only: bool = False) -> None:
        known = _single(tokens)
        self._kinds = [
            (bytes(_ALL - {*kind} | _ALL - known), width)
            for kind, width in zip(_KINDS, _widest([t for t in tokens if t]), strict=True)
        ]
        self._ascii_only = ascii_only

    def least(self, text: str) -> int:
        """Return a number of tokens that the text has at least, about 5 ns a byte."""
        raw = text.encode(errors="replace")
        if self._ascii_only and not raw.isascii():
            return 0
        return max(-(-len(raw.translate(None, others)) // width) for others, width in self._kinds)


class Unknown(Widths):
    """A vocabulary of which nothing is known: a token may be any text, or none."""

    def __init__(self) -> None:
        super().__init__([])

    def least(self, text: str) -> int:
        return 0


def widths_of(backend: tokenizers.Tokenizer, tokens: Sequence[bytes]) -> Widths:
    """Return the widths of a tokenizer whose tokens are these bytes, by id.

    They are unknown where some of a text may become no token: where it is normalized by other
    than Unicode's forms, characters can have no token, or tokens swallow what is beside them.
    """
    names = set(_types(backend.normalizer))
    swallows = any(
        token.lstrip or token.rstrip
        for token in backend.get_added_tokens_decoder().values()
        if not is_control(token)
    )
    splits = set(_types(backend.pre_tokenizer))
    by_byte = "ByteLevel" in splits or _single(tokens) == _ALL
    if swallows or not by_byte or not splits <= _SPLITTING or not names <= _UNICODE | _SPACING:
        return Unknown()
    return Widths(tokens, ascii_only=bool(names & _UNICODE))


def _single(tokens: Iterable[bytes]) -> frozenset[int]:
    return frozenset(token[0] for token in tokens if len(token) == 1)


def _widest(tokens: list[bytes]) -> tuple[int, ...]:
    if not tokens:
        return (1,) * len(_KINDS)
    every = np.frombuffer(b"".join(tokens), np.uint8)
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    starts = np.cumsum(lengths) - lengths
    return tuple(
        max(1, int(np.add.reduceat(np.isin(every, list(kind)), starts, dtype=np.int64).max()))
        for kind in _KINDS
    )


def _types(step: Any) -> Iterator[str]:
    """Yield the types of the steps that a part of a tokenizer is made of."""
    yield from _flat(json.loads(step.__getstate__())) if step is not None else ()


def _flat(step: dict[str, Any]) -> Iterator[str]:
    if step["type"] == "Sequence":
        inner = step.get("normalizers") or step.get("pretokenizers") or ()
        for one in inner:
            yield from _flat(one)
    elif step.get("behavior") == "Removed":
        yield "Removed"
    else:
        yield step["type"]
