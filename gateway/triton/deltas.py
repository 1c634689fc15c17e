"""The responses of the `tensorrt_llm` model, as what each sequence gained. Pure: bytes in."""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from gateway.generation import Delta, FinishReason, Generation, PromptLogprobs, Tops
from gateway.triton.call import is_final
from gateway.triton.ending import Endings
from gateway.triton.tensors import first_int32

Parse = Callable[[bytes], Any]


class DeltaReader:
    """Reads the serialised `ModelStreamInferResponse`s of one generation.

    output_ids is INT32 [1, beams, T] padded with -1, sequence_length INT32 [1, beams]; of beams
    the first is read. output_log_probs is FP32 [1, beams, T]: TensorRT-LLM streams those of all
    tokens so far beside the ids of the new ones (model_instance_state.cc of v0.19.0, lines
    1176-1195), PyTorch's engine those of the new ones; the last belong to them either way. The
    sequence is 0 unless `sequence_index` tells. Of our own models' outputs, top_log_prob_ids and
    top_log_probs are [1, T, K], of the new tokens, -1 where there are fewer than K. `parse` returns
    the `ModelInferResponse` in a message, or raises; a message of the same form as the one before
    is read without it.
    """

    __slots__ = (
        "_counts",
        "_endings",
        "_form",
        "_num_prompt",
        "_num_top",
        "_parse",
        "_with_logprobs",
        "is_final",
        "reused_blocks",
    )

    def __init__(self, generation: Generation, max_model_len: int, parse: Parse) -> None:
        self.is_final = False
        self.reused_blocks = 0
        self._parse = parse
        self._with_logprobs = generation.logprobs
        self._num_top = generation.num_top
        self._num_prompt = generation.num_prompt
        self._counts = Endings(generation, max_model_len)
        self._endings = self._counts.each
        self._form: Form | None = None

    @property
    def reasons(self) -> tuple[FinishReason, ...]:
        """Why each sequence ended, once all have."""
        return tuple(ending.reason for ending in self._endings)

    @property
    def num_tokens(self) -> int:
        """How many have come, of all sequences."""
        return self._counts.num_tokens

    @property
    def token_ids(self) -> Sequence[int]:
        """All that the first sequence has generated, its end token included."""
        return self._endings[0].token_ids

    @property
    def is_over(self) -> bool:
        """Whether every sequence has ended, though the engine did not come to say so."""
        return all(ending.is_over for ending in self._endings)

    def resume(self) -> None:
        """Expect what is left from another engine."""
        self._form = None
        self.reused_blocks = 0

    def read(self, messages: Sequence[bytes]) -> Sequence[Delta]:
        """Return what each sequence gained, without end tokens. Raises what `parse` raises."""
        if len(messages) == 1:
            delta = self._read(messages[0])
            return () if delta is None else (delta,)
        return _joined([delta for delta in map(self._read, messages) if delta is not None])

    def _read(self, message: bytes) -> Delta | None:
        delta = self._form.delta(message) if self._form else None
        if delta is None:
            delta = self._parsed(message)
        return None if delta is None else self._endings[delta.index].trim(delta)

    def _parsed(self, message: bytes) -> Delta | None:
        response = self._parse(message)
        self.is_final = is_final(response)
        names = [tensor.name for tensor in response.outputs]
        contents = dict(zip(names, response.raw_output_contents, strict=True))
        if not contents:
            return None
        if blocks := contents.get("kv_cache_reused_blocks"):
            self.reused_blocks = first_int32(blocks) or self.reused_blocks
        delta = self._delta(contents)
        self._form = self._form_of(message, contents, len(delta.token_ids))
        return delta

    def _form_of(
        self, message: bytes, contents: Mapping[str, bytes], num_tokens: int
    ) -> "Form | None":
        counts = {"output_ids": num_tokens, "sequence_index": 1}
        if self._num_top or "prompt_log_probs" in contents:
            return None
        if self._with_logprobs:
            if len(contents["output_log_probs"]) != num_tokens * NUMBER_BYTES:
                return None  # no two messages are alike where the list grows
            counts["output_log_probs"] = num_tokens
        return form_of(message, contents, counts)

    def _delta(self, contents: Mapping[str, bytes]) -> Delta:
        num_tokens = first_int32(contents["sequence_length"])
        index = first_int32(contents["sequence_index"]) if "sequence_index" in contents else 0
        token_ids = list(struct.unpack_from(f"<{num_tokens}i", contents["output_ids"]))
        if not self._with_logprobs:
            return Delta(index, token_ids)
        num_beams = len(contents["sequence_length"]) // NUMBER_BYTES
        end = len(contents["output_log_probs"]) // num_beams
        logprobs = struct.unpack_from(
            f"<{num_tokens}f", contents["output_log_probs"], end - num_tokens * NUMBER_BYTES
        )
        tops = _tops(contents, "top_log_prob", num_tokens, self._num_top)
        return Delta(index, token_ids, list(logprobs), tops, self._prompt(contents))

    def _prompt(self, contents: Mapping[str, bytes]) -> PromptLogprobs | None:
        raw = contents.get("prompt_log_probs")
        if raw is None:
            return None
        count = len(raw) // NUMBER_BYTES
        tops = _tops(contents, "prompt_top_log_prob", count, self._num_prompt)
        return PromptLogprobs(list(struct.unpack(f"<{count}f", raw)), tops)


def _tops(
    contents: Mapping[str, bytes], name: str, num_tokens: int, num_top: int
) -> Sequence[Tops]:
    if num_top <= 0:
        return ()
    count = num_tokens * num_top
    ids = struct.unpack_from(f"<{count}i", contents[f"{name}_ids"])
    logs = struct.unpack_from(f"<{count}f", contents[f"{name}s"])
    told = list(zip(ids, logs, strict=True))
    return [
        [pair for pair in told[start : start + num_top] if pair[0] >= 0]
        for start in range(0, count, num_top)
    ]


class Form:
    """The form of a message: what is the same in all that differ in what was generated alone.

    `places` tells which fields of the layout hold an output; before each is one, and after all
    one more, of bytes that stay as they are.
    """

    __slots__ = (
        "_fixed",
        "_index",
        "_logprobs",
        "_num_bytes",
        "_same",
        "_token_ids",
        "_unpack",
    )

    def __init__(self, message: bytes, layout: struct.Struct, places: Mapping[str, slice]) -> None:
        fields = layout.unpack(message)
        self._num_bytes = layout.size
        self._unpack = layout.unpack
        self._fixed = itemgetter(*[place.start - 1 for place in places.values()], len(fields) - 1)
        self._same = self._fixed(fields)
        self._token_ids = places["output_ids"]
        self._logprobs = places.get("output_log_probs")
        self._index = places.get("sequence_index")

    def delta(self, message: bytes) -> Delta | None:
        """Return what was generated, None for a message of another form."""
        if len(message) != self._num_bytes:
            return None
        fields = self._unpack(message)
        if self._fixed(fields) != self._same:
            return None
        index = fields[self._index][0] if self._index else 0
        if not self._logprobs:
            return Delta(index, list(fields[self._token_ids]))
        return Delta(index, list(fields[self._token_ids]), list(fields[self._logprobs]))


def form_of(
    message: bytes, contents: Mapping[str, bytes], counts: Mapping[str, int]
) -> Form | None:
    """Return the form of a message with these contents of outputs, if it can be told.

    An output that has a count holds so many numbers of what was generated. Protobuf writes
    fields in the order of their numbers: field 6 of `ModelInferResponse`, its
    `raw_output_contents`, is field 2 of `ModelStreamInferResponse`, and ends the message. Longer
    contents than what one byte can count are left.
    """
    if max(map(len, contents.values())) > MAX_BYTES:
        return None
    tail = b"".join([_tag(content) + content for content in contents.values()])
    if not message.endswith(tail):
        return None
    layout, num_fields, places = "<", 0, {}
    at, fixed_from = len(message) - len(tail), 0
    for name, content in contents.items():
        at += TAG_BYTES
        if name in counts:
            layout += f"{at - fixed_from}s{counts[name]}{CODES[name]}"
            fixed_from = at + NUMBER_BYTES * counts[name]
            places[name] = slice(num_fields + 1, num_fields + 1 + counts[name])
            num_fields = places[name].stop
        at += len(content)
    return Form(message, _struct_of(f"{layout}{at - fixed_from}s"), places)


RAW_OUTPUT_CONTENTS = 6 << 3 | 2
TAG_BYTES = 2
MAX_BYTES = 0x7F
NUMBER_BYTES = 4
CODES = {"output_ids": "i", "output_log_probs": "f", "sequence_index": "i"}


def _tag(content: bytes) -> bytes:
    return bytes((RAW_OUTPUT_CONTENTS, len(content)))


@lru_cache(maxsize=256)
def _struct_of(layout: str) -> struct.Struct:
    return struct.Struct(layout)


def _joined(deltas: Iterable[Delta]) -> Sequence[Delta]:
    """Return the deltas of each sequence as one."""
    joined: dict[int, Delta] = {}
    for delta in deltas:
        if held := joined.get(delta.index):
            token_ids, logprobs = held.token_ids + delta.token_ids, held.logprobs + delta.logprobs
            tops = [*held.tops, *delta.tops] if delta.tops else held.tops
            delta = Delta(delta.index, token_ids, logprobs, tops, held.prompt)
        joined[delta.index] = delta
    return tuple(joined.values())
