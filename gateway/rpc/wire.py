"""Request messages looked at before they are parsed: how many fields and values they hold.

Of Protocol Buffers' encoding this knows what it needs to count
(https://protobuf.dev/programming-guides/encoding/); what is none is left to the parser.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.errors import InvalidRequest
from gateway.traffic.size import MAX_FIELDS, MAX_VALUES

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
SMALL_BYTES = 2**12
"""A message of so few bytes cannot hold many fields."""

_NOT_LAST = bytes(range(0x80, 0x100))


class _Field(NamedTuple):
    """What is known of a field: its message's fields, or that it is a list of numbers."""

    name: str
    message: Descriptor | None
    is_packed: bool


class _Found(NamedTuple):
    """A field of a message: its number, and where its content is, if it has a length."""

    number: int
    start: int
    end: int


class _Tally:
    """Counts down, and raises InvalidRequest naming the field where there is too much."""

    def __init__(self) -> None:
        self._fields = MAX_FIELDS
        self._values = MAX_VALUES

    def take_field(self, path: str) -> None:
        self._fields -= 1
        if self._fields < 0:
            raise InvalidRequest(f"The message has more than {MAX_FIELDS:,} fields.", param=path)

    def take_values(self, count: int, path: str) -> None:
        self._values -= count
        if self._values < 0:
            raise InvalidRequest(f"The message has more than {MAX_VALUES:,} values.", param=path)


def check_message(raw: bytes, message: type[Message]) -> None:
    """Raise InvalidRequest for a `message` of too many fields or values, naming the field.

    Takes about a microsecond a field, and looks at no more of them than there may be.
    """
    if len(raw) > SMALL_BYTES:
        descriptor = cast(Descriptor, message.DESCRIPTOR)
        _check(raw, _Found(0, 0, len(raw)), descriptor, "", _Tally())


def _check(raw: bytes, whole: _Found, descriptor: Descriptor, path: str, tally: _Tally) -> None:
    known = _fields(descriptor)
    for found in _split(raw, whole):
        field = known.get(found.number, _UNKNOWN)
        name = f"{path}.{field.name}" if path else field.name
        tally.take_field(name)
        if field.message:
            _check(raw, found, field.message, name, tally)
        elif field.is_packed:
            content = raw[found.start : found.end]
            tally.take_values(len(content.translate(None, _NOT_LAST)), name)


_UNKNOWN = _Field("unknown", None, False)


@cache
def _fields(descriptor: Descriptor) -> Mapping[int, _Field]:
    return {
        field.number: _Field(
            field.name,
            field.message_type,
            bool(field.is_repeated) and field.type != FieldDescriptor.TYPE_STRING,
        )
        for field in descriptor.fields
    }


def _split(raw: bytes, whole: _Found) -> Iterator[_Found]:
    """Yield the fields of a message, as far as it is one."""
    at = whole.start
    while at < whole.end:
        tag, at = _varint(raw, at, whole.end)
        kind = tag & 7
        start = end = at
        if kind == LENGTH:
            size, start = _varint(raw, at, whole.end)
            end = start + size
        elif kind == VARINT:
            _, end = _varint(raw, at, whole.end)
        elif kind in FIXED_BYTES:
            end = at + FIXED_BYTES[kind]
        else:
            return
        if end > whole.end:
            return
        yield _Found(tag >> 3, start, end)
        at = end


def _varint(raw: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number and what follows it; a number without an end is beyond all sizes."""
    value = shift = 0
    while at < end and shift < 64:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return 2**64, at
