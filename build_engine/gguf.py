"""The metadata of a GGUF file. Reads no tensors.

Format: version 3 of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (little-endian).
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from build_engine.errors import BuildError

T = TypeVar("T")

_MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
# Scalar types of the format by their number there.
_SCALARS = {
    number: struct.Struct(f"<{code}")
    for number, code in {
        0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
    }.items()
}  # fmt: skip


class BadGguf(BuildError):
    """The file is not a GGUF, or lacks what is asked of it."""


@dataclass(frozen=True)
class Gguf:
    """The key-value metadata at the head of a GGUF file."""

    path: Path
    values: dict[str, object]

    @classmethod
    def read(cls, path: Path) -> "Gguf":
        """Return the metadata of a file; raises BadGguf when it is not one of version 2 or 3."""
        with path.open("rb") as file:
            try:
                return cls(path, _read_header(file))
            except (
                struct.error,
                KeyError,
                UnicodeDecodeError,
                MemoryError,
                OverflowError,
            ) as error:
                raise BadGguf(f"{path} is damaged: its GGUF header does not parse") from error
            except BadGguf as error:
                raise BadGguf(f"{path}: {error}") from None

    def get(self, key: str, kind: type[T]) -> T:
        """Return the value of a key; raises BadGguf where there is none of that kind."""
        value = self.values.get(key)
        if not isinstance(value, kind):
            raise BadGguf(f"{self.path} has no {key}")
        return value


def _read_header(file: BinaryIO) -> dict[str, object]:
    if file.read(4) != _MAGIC:
        raise BadGguf("not a GGUF file")
    version, _, num_values = struct.unpack("<IQQ", file.read(20))
    if version not in (2, 3):
        raise BadGguf(f"GGUF version {version} is not supported, only 2 and 3")
    return {_read_string(file): _read_value(file, _read_type(file)) for _ in range(num_values)}


def _read_value(file: BinaryIO, kind: int) -> object:
    if kind == _STRING:
        return _read_string(file)
    if kind != _ARRAY:
        scalar = _SCALARS[kind]
        return scalar.unpack(file.read(scalar.size))[0]
    element, length = _read_type(file), _read_length(file)
    if element in _SCALARS:
        code = _SCALARS[element].format[1:]
        return list(struct.unpack(f"<{length}{code}", file.read(length * _SCALARS[element].size)))
    return [_read_value(file, element) for _ in range(length)]


def _read_string(file: BinaryIO) -> str:
    return file.read(_read_length(file)).decode()


def _read_length(file: BinaryIO) -> int:
    return int.from_bytes(_read_exactly(file, 8), "little")


def _read_type(file: BinaryIO) -> int:
    return int.from_bytes(_read_exactly(file, 4), "little")


def _read_exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise BadGguf("the file ends within its header")
    return data
