"""The token ids of texts seen before, bounded in bytes. Does not encode."""

import sys
from array import array

from gateway.traffic.cache import ByteCache

TextCache = ByteCache[str, "array[int]"]

# A dict entry with its links, and the objects' headers.
_ENTRY_BYTES = 200


def text_cache(capacity_bytes: int) -> TextCache:
    """Return what keeps the ids of texts, four bytes each."""
    return ByteCache(capacity_bytes, _cost_bytes)


def _cost_bytes(text: str, token_ids: "array[int]") -> int:
    return sys.getsizeof(text) + sys.getsizeof(token_ids) + _ENTRY_BYTES
