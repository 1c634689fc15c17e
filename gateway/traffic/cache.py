"""What was made before, kept as long as there is room for it: so many bytes, whatever they are."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Forgets what was unused for longest; safe between threads. `cost` is of a key and a value."""

    def __init__(self, capacity_bytes: int, cost: Callable[[K, V], int]) -> None:
        self._capacity_bytes = capacity_bytes
        self._cost = cost
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()
        self.size_bytes = 0

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def get(self, key: K) -> V | None:
        """Return what is kept of a key, None where nothing is."""
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, unless it alone exceeds the capacity."""
        cost = self._cost(key, value)
        if cost > self._capacity_bytes:
            return
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = value
            self.size_bytes += cost
            while self.size_bytes > self._capacity_bytes:
                self.size_bytes -= self._cost(*self._entries.popitem(last=False))
