"""What engines that take text and give text share: tensors of strings, tokens counted from text."""

import struct
from collections.abc import Sequence
from typing import Protocol

from gateway.generation import Prompt
from gateway.triton.tensors import Tensor


class TextCodec(Protocol):
    """The model's tokenizer, as far as text engines need it."""

    @property
    def opening_ids(self) -> tuple[int, ...]: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special: bool = True) -> str: ...


def unopened(prompt: Prompt, codec: TextCodec) -> str:
    """Return a prompt's text without what the server's tokenizer puts before every text: it would
    stand there twice. The server is taken to have the model's own tokenizer."""
    opening = codec.opening_ids
    if not opening or tuple(prompt.token_ids[: len(opening)]) != opening:
        return prompt.text
    return prompt.text.removeprefix(codec.decode(opening, skip_special=False))


def strings(name: str, values: Sequence[str], shape: tuple[int, ...]) -> Tensor:
    """Return a BYTES tensor: each element a little-endian UINT32 length and its UTF-8."""
    raw = [value.encode() for value in values]
    return name, "BYTES", shape, b"".join(struct.pack("<I", len(item)) + item for item in raw)


def read_string(raw: bytes) -> str:
    """Return the first element of a BYTES tensor."""
    (size,) = struct.unpack_from("<I", raw)
    return raw[4 : 4 + size].decode(errors="replace")
