"""What the simulator answers: its file, matched against prompts. Knows nothing of time passing."""

import itertools
import random
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from tokenizers import Tokenizer

from backend.contract import Request

_WORD = re.compile("[Ġ▁][a-z]{2,}")
_WITHOUT_TOKENIZER = range(100, 1000)

Answer = str | list[int]
Sizes = Annotated[tuple[Annotated[int, msgspec.Meta(ge=1)], ...], msgspec.Meta(min_length=1)]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes wrong once a sequence has sent `after` tokens.

    `error` fails the request, `crash` raises out of the step, `stall` sends nothing for `seconds`,
    `hang` lets the whole engine stand still so long. It befalls `every` n-th request.
    """

    kind: Literal["error", "crash", "stall", "hang"]
    after: int = 0
    message: str = "simulated fault"
    seconds: float = 0.0
    every: int = 1


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to a prompt, given as exact text or ids, or as text that it `contains`.

    Sequence i of a request takes alternative i - 1, if there is one. `deltas` are the sizes of
    successive deltas, the last of them for all that follow. After its text an answer has the
    request's `end_id`, its first stop word, or filler up to the `limit`; the one the request
    lacks is replaced by the next in this order. `log_probs` repeat.
    """

    answer: Answer
    prompt: Answer | None = None
    contains: str | None = None
    alternatives: list[Answer] = []
    deltas: Sizes = (1,)
    end: Literal["end_id", "stop_word", "limit"] = "end_id"
    log_probs: list[float] = []
    kv_cache_reused_blocks: int = -1
    fault: Fault | None = None


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long things take and how much fits; 0 is no time, and no bound.

    Prompts are remembered up to `prefix_cache_tokens`: what of another is the same is not
    computed again, and told as reused. 0 is none.
    """

    prefill_tokens_per_s: float = 0.0
    step_s: float = 0.0
    step_s_per_sequence: float = 0.0
    kv_capacity_tokens: int = 0
    prefix_cache_tokens: int = 0


class SimulatorFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of simulator.json; the first row that matches answers."""

    answers: list[Row] = []
    cost: Cost = Cost()


class Script:
    """Rows, and filler for the prompts that no row knows."""

    def __init__(self, rows: list[Row], tokenizer: Path) -> None:
        self._rows = rows
        path = tokenizer / "tokenizer.json"
        self._tokenizer = Tokenizer.from_file(str(path)) if path.is_file() else None
        self._words = self._ordinary_tokens()

    def row(self, request: Request) -> Row:
        """The first row for the prompt, or one that says nothing and runs on to the limit."""
        text = self._decode(request.input_ids) if self._rows else ""
        for row in self._rows:
            if self._matches(row, request.input_ids, text):
                return row
        return Row(answer=[], end="limit")

    def tokens(self, row: Row, request: Request, index: int) -> Iterator[int]:
        """Endless tokens of sequence `index`: the answer, its end, filler."""
        answers = [row.answer, *row.alternatives]
        answer = self._encode(answers[index % len(answers)])
        filler = self._filler(request, index)
        padding = itertools.islice(filler, max(0, request.min_tokens - len(answer)))
        return itertools.chain(answer, padding, _end(row, request), filler)

    def _matches(self, row: Row, ids: tuple[int, ...], text: str) -> bool:
        if row.contains is not None:
            return row.contains in text
        return row.prompt in (text, list(ids))

    def _filler(self, request: Request, index: int) -> Iterator[int]:
        prompt = zlib.crc32(np.array(request.input_ids, np.int32).tobytes())
        if not request.is_sampled:
            return _following(prompt, self._words)
        draw = random.Random(f"{prompt} {request.seed} {index}")
        return (draw.choice(self._words) for _ in itertools.count())

    def _ordinary_tokens(self) -> list[int]:
        if self._tokenizer is None:
            return list(_WITHOUT_TOKENIZER)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        return sorted(token for text, token in vocabulary.items() if _WORD.fullmatch(text))

    def _encode(self, answer: Answer) -> list[int]:
        if isinstance(answer, list):
            return answer
        if self._tokenizer is None:
            raise ValueError("an answer given as text needs a tokenizer")
        ids: list[int] = self._tokenizer.encode(answer, add_special_tokens=False).ids
        return ids

    def _decode(self, ids: tuple[int, ...]) -> str:
        if self._tokenizer is None:
            return ""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text


def _following(checksum: int, words: list[int]) -> Iterator[int]:
    """Endless tokens, each of which follows from all before it, as where decoding is greedy."""
    while True:
        token = words[checksum % len(words)]
        yield token
        checksum = zlib.crc32(token.to_bytes(4, "little"), checksum)


def _end(row: Row, request: Request) -> tuple[int, ...]:
    if row.end == "limit":
        return ()
    if row.end == "end_id" and request.end_id >= 0:
        return (request.end_id,)
    return request.stop_words[0] if request.stop_words else ()
