"""The token ids of texts seen before, bounded in bytes. Does not encode."""

import sys
from array import array
from collections import OrderedDict
from threading import Lock

# A dict entry with its links, and the objects' headers.
_ENTRY_BYTES = 200


class TextCache:
    """Maps text to its ids, forgetting what was unused for longest; safe between threads."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._entries: OrderedDict[str, array[int]] = OrderedDict()
        self._lock = Lock()
        self.size_bytes = 0

    def __contains__(self, text: str) -> bool:
        return text in self._entries

    def get(self, text: str) -> "array[int] | None":
        """Return the ids of a text, four bytes each, None where they are not known."""
        with self._lock:
            token_ids = self._entries.get(text)
            if token_ids is not None:
                self._entries.move_to_end(text)
            return token_ids

    def put(self, text: str, token_ids: list[int]) -> None:
        """Keep the ids of a text, unless it alone exceeds the capacity."""
        packed = array("I", token_ids)
        cost = _cost_bytes(text, packed)
        if cost > self._capacity_bytes:
            return
        with self._lock:
            if text in self._entries:
                return
            self._entries[text] = packed
            self.size_bytes += cost
            while self.size_bytes > self._capacity_bytes:
                self.size_bytes -= _cost_bytes(*self._entries.popitem(last=False))


def _cost_bytes(text: str, token_ids: "array[int]") -> int:
    return sys.getsizeof(text) + sys.getsizeof(token_ids) + _ENTRY_BYTES
