"""What postprocessing does: token deltas into text. Knows no Triton API.

A delta may end inside a character, and what a token reads as may depend on the one before it. So
the last tokens of each sequence are remembered under its request id. An ensemble cannot tell this
model that a request has ended, nor whether it streams: a character that is incomplete at the end
is not shown, or would appear as U+FFFD at the start of a later request with the same id. Without
an id every response is decoded by itself, which is exact where an answer is one response.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Tensors = Mapping[str, NDArray[Any]]

DEFAULT_TOKENIZER_DIR = "tensorrt_llm/tokenizer"
_MAX_STREAMS = 4096
_CONTEXT = 4
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of one sequence, delta by delta."""

    def __init__(self, tokenizer: Tokenizer, *, skips_special: bool) -> None:
        self._tokenizer = tokenizer
        self._skips_special = skips_special
        self._ids: list[int] = []
        self._num_shown = 0

    def push(self, ids: Sequence[int]) -> str:
        """The text that these tokens complete; an incomplete character waits for the next."""
        self._ids += ids
        text = self._decode()
        complete = text.rstrip(_INCOMPLETE)
        delta = complete[self._num_shown :]
        self._num_shown = max(self._num_shown, len(complete))
        if complete == text:
            self._ids = self._ids[-_CONTEXT:]
            self._num_shown = len(self._decode())
        return delta

    def _decode(self) -> str:
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=self._skips_special)
        return text


class TextStreams:
    """Decodes the responses of `tensorrt_llm`, knowing the 4096 sequences that were last active."""

    def __init__(self, tokenizer: Tokenizer, *, skips_special: bool) -> None:
        self._tokenizer = tokenizer
        self._skips_special = skips_special
        self._streams: OrderedDict[tuple[str, int], TextStream] = OrderedDict()

    @classmethod
    def load(cls, repository: Path, parameters: Mapping[str, str]) -> "TextStreams":
        """The decoder for a model repository; a relative `tokenizer_dir` is inside of it."""
        folder = repository / _parameter(parameters, "tokenizer_dir", DEFAULT_TOKENIZER_DIR)
        skips_special = _parameter(parameters, "skip_special_tokens", "true").lower() == "true"
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), skips_special=skips_special)

    def decode(self, request_id: str, tensors: Tensors) -> NDArray[np.object_]:
        """Text [1, beams] for TOKENS_BATCH [1, beams, T] and SEQUENCE_LENGTH [1, beams]."""
        lengths = tensors["SEQUENCE_LENGTH"][0].tolist()
        beams = [
            ids[:length].tolist()
            for ids, length in zip(tensors["TOKENS_BATCH"][0], lengths, strict=True)
        ]
        if request_id and len(beams) == 1:
            index = int(tensors["SEQUENCE_INDEX"].item()) if "SEQUENCE_INDEX" in tensors else 0
            texts = [self._stream(request_id, index).push(beams[0])]
        else:
            texts = [self._tokenizer.decode(ids, self._skips_special) for ids in beams]
        return np.array([[text.encode() for text in texts]], np.object_)

    def _stream(self, request_id: str, index: int) -> TextStream:
        key = (request_id, index)
        if key not in self._streams:
            self._streams[key] = TextStream(self._tokenizer, skips_special=self._skips_special)
        self._streams.move_to_end(key)
        if len(self._streams) > _MAX_STREAMS:
            self._streams.popitem(last=False)
        return self._streams[key]


def _parameter(parameters: Mapping[str, str], name: str, default: str) -> str:
    value = parameters.get(name, "")
    return default if value in ("", f"${{{name}}}") else value
