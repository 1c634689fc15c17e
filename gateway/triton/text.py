"""What engines that take text and give text share: tensors of strings, tokens counted from text."""

import struct
from collections.abc import Sequence
from typing import Protocol

from gateway.triton.tensors import Tensor


class TextCodec(Protocol):
    """The model's tokenizer, as far as text engines need it."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special: bool = True) -> str: ...


def strings(name: str, values: Sequence[str], shape: tuple[int, ...]) -> Tensor:
    """Return a BYTES tensor: each element a little-endian UINT32 length and its UTF-8."""
    raw = [value.encode() for value in values]
    return name, "BYTES", shape, b"".join(struct.pack("<I", len(item)) + item for item in raw)


def read_string(raw: bytes) -> str:
    """Return the first element of a BYTES tensor."""
    (size,) = struct.unpack_from("<I", raw)
    return raw[4 : 4 + size].decode(errors="replace")
