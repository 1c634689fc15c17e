"""What each token id adds to a text. Holds no state of any one answer."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenizers import Tokenizer

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SENTENCEPIECE_SHAPE = re.compile(r"(Replace )*(Metaspace )?(ByteFallback )?(Fuse (Strip )?)?")


@dataclass(frozen=True, slots=True)
class SentencePiece:
    """What a SentencePiece-like decoder does beyond joining tokens.

    A run of `byte_ids` is text if the whole run is UTF-8, else one U+FFFD per byte.
    `first_texts` are the tokens that read differently at the start of a text, and
    `leading_spaces` is how many spaces the start of a text loses.
    """

    byte_ids: frozenset[int] = frozenset()
    first_texts: dict[int, str] = field(default_factory=dict)
    leading_spaces: int = 0


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The vocabulary under one rule for special tokens.

    `pieces[id]` are the bytes an id adds; `texts[id]` the same as text, None where the text
    depends on the ids around it. `dropped` ids add nothing, and come between no others.
    """

    pieces: Sequence[bytes]
    texts: Sequence[str | None]
    dropped: frozenset[int]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The bytes of every token id, and which ids are control tokens.

    `sentencepiece` is None for byte-level vocabularies (Llama 3, GPT-2), where bytes simply join.
    """

    tokens: Sequence[bytes]
    special_ids: frozenset[int] = frozenset()
    sentencepiece: SentencePiece | None = None
    _tables: dict[tuple[bool, tuple[str, ...]], TokenTable] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def from_backend(cls, backend: Tokenizer) -> "Vocabulary":
        """Read the vocabulary of a Hugging Face fast tokenizer.

        Raises ValueError where its decoder is one whose text cannot be streamed exactly.
        """
        steps = _decoder_steps(backend)
        names = [str(step["type"]) for step in steps]
        strings = _token_strings(backend)
        special_ids = _special_ids(backend, strings)
        if names == ["ByteLevel"]:
            return cls([_byte_level(string) for string in strings], special_ids)
        shape = "".join(f"{name} " for name in names)
        stripped_end = any(step["type"] == "Strip" and step["stop"] for step in steps)
        if not names or not _SENTENCEPIECE_SHAPE.fullmatch(shape) or stripped_end:
            raise ValueError(f"tokenizer decoder not supported: {' + '.join(names) or 'none'}")
        return _sentencepiece(backend, steps, strings, special_ids)

    def token(self, token_id: int) -> bytes:
        """Return the bytes of an id, special or not; empty for an id that does not exist."""
        return self.tokens[token_id] if 0 <= token_id < len(self.tokens) else b""

    def special(self, texts: Iterable[str]) -> frozenset[int]:
        """Return the special ids that are written as one of `texts`."""
        wanted = {text.encode() for text in texts}
        return frozenset(i for i in self.special_ids if self.tokens[i] in wanted)

    def table(self, skip_special: bool, kept: tuple[str, ...] = ()) -> TokenTable:
        """Return the table that drops special tokens, those in `kept` apart, or drops none."""
        key = (skip_special, kept)
        if key not in self._tables:
            dropped = self.special_ids - self.special(kept) if skip_special else frozenset[int]()
            self._tables[key] = self._make_table(dropped)
        return self._tables[key]

    def _make_table(self, dropped: frozenset[int]) -> TokenTable:
        pieces = [b"" if i in dropped else token for i, token in enumerate(self.tokens)]
        texts = [_complete_text(piece) for piece in pieces]
        for token_id in self.sentencepiece.byte_ids if self.sentencepiece else ():
            texts[token_id] = None
        return TokenTable(pieces, texts, dropped)


def _decoder_steps(backend: Tokenizer) -> list[dict[str, Any]]:
    if backend.decoder is None:
        return []
    state = json.loads(backend.decoder.__getstate__())
    return list(_flatten(state))


def _flatten(step: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if step["type"] != "Sequence":
        yield step
        return
    for inner in step["decoders"]:
        yield from _flatten(inner)


def _token_strings(backend: Tokenizer) -> list[str | None]:
    size = 1 + max(backend.get_vocab(with_added_tokens=True).values())
    return [backend.id_to_token(token_id) for token_id in range(size)]


def _special_ids(backend: Tokenizer, strings: Sequence[str | None]) -> frozenset[int]:
    special = {t.content for t in backend.get_added_tokens_decoder().values() if t.special}
    return frozenset(i for i, string in enumerate(strings) if string in special)


def _complete_text(piece: bytes) -> str | None:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return None


def _byte_alphabet() -> dict[str, int]:
    """Map the printable stand-ins of byte-level BPE to bytes: 188 bytes stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


_ALPHABET = _byte_alphabet()


def _byte_level(string: str | None) -> bytes:
    if string is None:
        return b""
    try:
        return bytes(map(_ALPHABET.__getitem__, string))
    except KeyError:  # an added token, written as it reads
        return string.encode()


def _sentencepiece(
    backend: Tokenizer,
    steps: Sequence[dict[str, Any]],
    strings: Sequence[str | None],
    special_ids: frozenset[int],
) -> Vocabulary:
    decoder, by_name = backend.decoder, {step["type"]: step for step in steps}
    anchor = "a"  # what follows it reads as it does inside a text
    texts = ["" if s is None else decoder.decode([anchor, s])[len(anchor) :] for s in strings]
    tokens = [text.encode() for text in texts]
    byte_ids = []
    for token_id, string in enumerate(strings if "ByteFallback" in by_name else ()):
        if string is not None and _BYTE_TOKEN.fullmatch(string):
            byte_ids.append(token_id)
            tokens[token_id] = bytes([int(string[3:5], 16)])
    first_texts = {}
    if "Metaspace" in by_name:
        firsts = ("" if s is None else decoder.decode([s]) for s in strings)
        first_texts = {i: f for i, f in enumerate(firsts) if f != texts[i]}
    strip = by_name.get("Strip", {"start": 0})
    rules = SentencePiece(frozenset(byte_ids), first_texts, strip["start"])
    return Vocabulary(tokens, special_ids, rules)
