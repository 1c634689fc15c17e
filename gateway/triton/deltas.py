"""The responses of the `tensorrt_llm` model, as what each sequence gained. Pure: bytes in."""

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from gateway.generation import Delta, FinishReason, Generation
from gateway.triton.call import is_final
from gateway.triton.ending import Ending
from gateway.triton.tensors import INT32, first_int32

Parse = Callable[[bytes], Any]


class DeltaReader:
    """Reads the serialised `ModelStreamInferResponse`s of one generation.

    output_ids is INT32 [1, beams, T] padded with -1, sequence_length INT32 [1, beams]; the
    sequence is 0 unless `sequence_index` tells. `parse` returns the `ModelInferResponse` in a
    message, or raises; a message of the same form as the one before is read without it.
    """

    __slots__ = (
        "_endings",
        "_form",
        "_parse",
        "_places",
        "_with_logprobs",
        "is_final",
        "reused_blocks",
    )

    def __init__(self, generation: Generation, max_model_len: int, parse: Parse) -> None:
        self.is_final = False
        self.reused_blocks = 0
        self._parse = parse
        self._with_logprobs = generation.logprobs
        self._endings = [Ending(generation, max_model_len) for _ in range(generation.num_sequences)]
        self._form: Form | None = None
        self._places = Places([])

    @property
    def reasons(self) -> tuple[FinishReason, ...]:
        """Why each sequence ended, once all have."""
        return tuple(ending.reason for ending in self._endings)

    def read(self, messages: Sequence[bytes]) -> Sequence[Delta]:
        """Return what each sequence gained, without end tokens. Raises what `parse` raises."""
        if len(messages) == 1:
            delta = self._read(messages[0])
            return () if delta is None else (delta,)
        return _joined([delta for delta in map(self._read, messages) if delta is not None])

    def _read(self, message: bytes) -> Delta | None:
        form = self._form
        raw = form.contents(message) if form else None
        if raw is None:
            raw = self._parsed(message)
        if not raw:
            return None
        delta = self._delta(raw)
        return self._endings[delta.index].trim(delta)

    def _parsed(self, message: bytes) -> Sequence[bytes]:
        response = self._parse(message)
        raw: Sequence[bytes] = response.raw_output_contents
        names = [tensor.name for tensor in response.outputs]
        if names != self._places.names:
            self._places = Places(names)
        self.is_final = is_final(response)
        self._form = form_of(message, raw)
        if raw and self._places.reused_blocks is not None:
            self.reused_blocks = first_int32(raw[self._places.reused_blocks]) or self.reused_blocks
        return raw

    def _delta(self, raw: Sequence[bytes]) -> Delta:
        places = self._places
        ids = raw[places.ids]
        (num_tokens,) = INT32.unpack(raw[places.length])
        token_ids = list(INT32.unpack_from(ids) if num_tokens == 1 else _int32s(ids, num_tokens))
        index = 0 if places.index is None else first_int32(raw[places.index])
        if not self._with_logprobs:
            return Delta(index, token_ids)
        logprobs = struct.unpack_from(f"<{num_tokens}f", raw[places.logprobs])
        return Delta(index, token_ids, list(logprobs))


class Places:
    """Where the outputs of a response are, by their names."""

    __slots__ = ("ids", "index", "length", "logprobs", "names", "reused_blocks")

    def __init__(self, names: list[str]) -> None:
        places = {name: place for place, name in enumerate(names)}
        self.names = names
        self.ids = places.get("output_ids", -1)
        self.length = places.get("sequence_length", -1)
        self.logprobs = places.get("output_log_probs", -1)
        self.index = places.get("sequence_index")
        self.reused_blocks = places.get("kv_cache_reused_blocks")


class Form:
    """What is the same in all messages that differ in the contents of their tensors alone."""

    __slots__ = ("_head", "_head_bytes", "_tags", "_tail", "_total_bytes")

    def __init__(self, head: bytes, tags: tuple[bytes, ...], sizes: Sequence[int]) -> None:
        self._head = head
        self._head_bytes = len(head)
        self._tags = tags
        self._tail = _struct_of(tuple(sizes))
        self._total_bytes = len(head) + self._tail.size

    def contents(self, message: bytes) -> Sequence[bytes] | None:
        """Return the contents of the tensors in a message, None if it is of another form."""
        if len(message) != self._total_bytes or not message.startswith(self._head):
            return None
        fields = self._tail.unpack_from(message, self._head_bytes)
        return fields[1::2] if fields[::2] == self._tags else None


def form_of(message: bytes, contents: Sequence[bytes]) -> Form | None:
    """Return the form of a message with these `raw_output_contents`, if it can be told.

    Protobuf writes fields in the order of their numbers: field 6 of `ModelInferResponse`, which
    is field 2 of `ModelStreamInferResponse`, ends the message. Longer contents than what one byte
    can count are left.
    """
    sizes = [len(content) for content in contents]
    if max(sizes, default=MAX_BYTES + 1) > MAX_BYTES:
        return None
    tags = tuple(bytes((RAW_OUTPUT_CONTENTS, size)) for size in sizes)
    tail = b"".join([tag + content for tag, content in zip(tags, contents, strict=True)])
    if not message.endswith(tail):
        return None
    return Form(message[: len(message) - len(tail)], tags, sizes)


RAW_OUTPUT_CONTENTS = 6 << 3 | 2
MAX_BYTES = 0x7F


@lru_cache(maxsize=64)
def _struct_of(sizes: tuple[int, ...]) -> struct.Struct:
    return struct.Struct("".join(f"2s{size}s" for size in sizes))


def _int32s(raw: bytes, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f"<{count}i", raw)


def _joined(deltas: Iterable[Delta]) -> Sequence[Delta]:
    """Return the deltas of each sequence as one."""
    joined: dict[int, Delta] = {}
    for delta in deltas:
        if held := joined.get(delta.index):
            token_ids, logprobs = held.token_ids + delta.token_ids, held.logprobs + delta.logprobs
            delta = Delta(delta.index, token_ids, logprobs)
        joined[delta.index] = delta
    return tuple(joined.values())
