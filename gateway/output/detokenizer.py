"""Token ids to text as they arrive, exact to the byte. Knows nothing of stops or tools."""

from codecs import utf_8_decode
from collections.abc import Sequence

from gateway.output.vocabulary import SentencePiece, TokenTable, Vocabulary


class Detokenizer:
    """Text of a byte-level vocabulary: whatever the deltas, they join to one decode of the whole.

    Bytes that are not yet a character are held back until they are one, or until `flush`.
    """

    __slots__ = ("_clear", "_pending", "_pieces", "_texts")

    def __init__(self, table: TokenTable) -> None:
        self._pieces = table.pieces
        self._texts = table.texts
        self._pending = b""
        self._clear = True  # nothing is held back, so a token that is text reads as itself

    def push(self, token_ids: Sequence[int]) -> str:
        """Return the text these ids complete. Ids outside the vocabulary add nothing."""
        if self._clear and len(token_ids) == 1:
            token_id = token_ids[0]
            if 0 <= token_id < len(self._texts):
                text = self._texts[token_id]
                if text is not None:
                    return text
        return self._decode(token_ids)

    def flush(self) -> str:
        """Return what is held back, U+FFFD where it never became a character."""
        text = self._pending.decode(errors="replace")
        self._pending, self._clear = b"", True
        return text

    def _decode(self, token_ids: Sequence[int]) -> str:
        pieces, size = self._pieces, len(self._pieces)
        data = self._pending + b"".join([pieces[i] for i in token_ids if 0 <= i < size])
        text, used = utf_8_decode(data, "replace", False)
        self._pending = data[used:]
        self._clear = used == len(data)
        return text


class _SentencePieceDetokenizer(Detokenizer):
    """Text of a SentencePiece-like vocabulary: a run of byte tokens is text only as a whole."""

    __slots__ = ("_dropped", "_leading", "_rules", "_run", "_started")

    def __init__(self, table: TokenTable, rules: SentencePiece) -> None:
        super().__init__(table)
        self._rules = rules
        self._dropped = table.dropped
        self._run = bytearray()
        self._started = False
        self._leading = rules.leading_spaces
        self._clear = False

    def flush(self) -> str:
        text = self._strip_lead(self._end_run())
        self._settle()
        return text

    def _decode(self, token_ids: Sequence[int]) -> str:
        size = len(self._pieces)
        read = [i for i in token_ids if 0 <= i < size and i not in self._dropped]
        text = self._strip_lead("".join(map(self._read, read)))
        self._settle()
        return text

    def _read(self, token_id: int) -> str:
        is_first, self._started = not self._started, True
        if token_id in self._rules.byte_ids:
            self._run += self._pieces[token_id]
            return ""
        text = self._pieces[token_id].decode()
        if is_first:
            return self._rules.first_texts.get(token_id, text)
        return self._end_run() + text if self._run else text

    def _end_run(self) -> str:
        run, self._run = self._run, bytearray()
        try:
            return run.decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(run)

    def _strip_lead(self, text: str) -> str:
        if not (self._leading and text):
            return text
        stripped = text[: self._leading].lstrip(" ") + text[self._leading :]
        self._leading = 0 if stripped else self._leading - len(text)
        return stripped

    def _settle(self) -> None:
        self._clear = self._started and not self._run and not self._leading


def detokenizer_for(
    vocabulary: Vocabulary, skip_special: bool = True, kept: tuple[str, ...] = ()
) -> Detokenizer:
    """Open a detokenizer; `kept` special tokens read as text even where the others are skipped."""
    table = vocabulary.table(skip_special, kept)
    if vocabulary.sentencepiece is None:
        return Detokenizer(table)
    return _SentencePieceDetokenizer(table, vocabulary.sentencepiece)
