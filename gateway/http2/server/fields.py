"""Header blocks of a client to fields (RFC 7541), in time that is linear in their bytes.

A list of fields that is longer than anyone may send is read on, so that the table stays the
client's, but not kept.
"""

from hpack.exceptions import InvalidTableIndex
from hpack.table import HeaderTable

from gateway.http2.frames import ErrorCode, ProtocolError
from gateway.http2.server import huffman

Field = tuple[bytes, bytes]
"""A name and a value."""

FIELD_BYTES = 32
"""What a field counts beside its name and value: RFC 9113, section 6.5.2."""

MAX_FIELDS_BYTES = 2**14
"""What a call may send along."""

MAX_BLOCK_BYTES = 2**18
"""Of a header block, coded or not: what is longer ends the connection."""

MAX_FIELDS = 1000
"""As much: twice what would fit in what a call may send along."""

_TABLE_BYTES = HeaderTable.DEFAULT_SIZE
_MAX_BITS = 30
"""Of a byte in Huffman's code, at most."""
_INDEXED, _INDEXING, _RESIZING, _HUFFMAN = 0x80, 0x40, 0x20, 0x80


class FieldReader:
    """Reads the header blocks of one connection, each in its turn."""

    def __init__(self) -> None:
        self._table = HeaderTable()
        self._block = b""
        self._at = 0
        self._fields: list[Field] = []
        self._num_bytes = 0
        self.num_fields = 0

    @property
    def is_too_much(self) -> bool:
        """Tell whether the block has more than a call may send along."""
        return self._num_bytes > MAX_FIELDS_BYTES

    def read(self, block: bytes) -> list[Field] | None:
        """Return the fields in a block, None if they are too much. Raises ProtocolError."""
        self._block, self._at = block, 0
        self._fields, self._num_bytes, self.num_fields = [], 0, 0
        try:
            while self._at < len(block):
                self._next(block[self._at])
        except (IndexError, InvalidTableIndex) as error:
            raise _unreadable() from error
        fields, self._fields, self._block = self._fields, [], b""
        return None if self.is_too_much else fields

    def _next(self, first: int) -> None:
        if first & _INDEXED:
            self._add(*self._table.get_by_index(self._integer(7)))
        elif first & _INDEXING:
            self._index(self._integer(6))
        elif first & _RESIZING:
            self._resize(self._integer(5))
        else:
            self._skim(self._integer(4))

    def _add(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if not self.is_too_much:
            self._fields.append((name, value))

    def _count(self, num_bytes: int) -> None:
        self.num_fields += 1
        self._num_bytes += FIELD_BYTES + num_bytes
        if self.is_too_much:
            self._fields.clear()
        if self._num_bytes > MAX_BLOCK_BYTES or self.num_fields > MAX_FIELDS:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "far too many headers")

    def _index(self, index: int) -> None:
        name = self._table.get_by_index(index)[0] if index else self._text()
        value = self._text()
        self._table.add(name, value)
        self._add(name, value)

    def _resize(self, size: int) -> None:
        """Follow the client's table. RFC 7541, section 4.2: before any field, within the limit."""
        if self.num_fields or size > _TABLE_BYTES:
            raise _unreadable()
        self._count(0)
        self.num_fields -= 1
        self._table.maxsize = size

    def _skim(self, index: int) -> None:
        """Take a field that is not for the table: what is not kept need not be decoded."""
        name = self._table.get_by_index(index)[0] if index else None
        if self.is_too_much:
            num_bytes = len(self._raw()[1]) if name is None else len(name)
            self._count(num_bytes + len(self._raw()[1]))
        else:
            name = self._text() if name is None else name
            self._add(name, self._text())

    def _text(self) -> bytes:
        is_coded, raw = self._raw()
        if not is_coded:
            return raw
        if len(raw) * 8 // _MAX_BITS > max(_TABLE_BYTES, MAX_FIELDS_BYTES):
            # Too long for the table and for the call, whatever it says.
            self._count(len(raw))
            return raw
        if (text := huffman.decode(raw)) is None:
            raise _unreadable()
        return text

    def _raw(self) -> tuple[bool, bytes]:
        """Return a string as it was sent, and whether that is in Huffman's code."""
        is_coded = bool(self._block[self._at] & _HUFFMAN)
        size = self._integer(7)
        start, self._at = self._at, self._at + size
        if self._at > len(self._block):
            raise _unreadable()
        return is_coded, self._block[start : self._at]

    def _integer(self, num_bits: int) -> int:
        """Return a number that begins in so many bits (RFC 7541, section 5.1)."""
        full = (1 << num_bits) - 1
        number = self._block[self._at] & full
        self._at += 1
        if number < full:
            return number
        for shift in range(0, 28, 7):
            byte = self._block[self._at]
            self._at += 1
            number += (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise _unreadable()


def _unreadable() -> ProtocolError:
    return ProtocolError(ErrorCode.COMPRESSION_ERROR, "headers that cannot be read")
