"""What all clients together make a server hold of their requests."""

from typing import Protocol


class Holder(Protocol):
    """A client."""

    def shed(self) -> None:
        """Refuse the call that makes us hold most, and tell the store what is held then."""


class Store:
    """So many bytes; who holds most makes room, so that one who sends little never has to."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: dict[Holder, int] = {}
        self.num_bytes = 0

    def note(self, holder: Holder, num_bytes: int) -> None:
        """Note what is held for a client now."""
        self.num_bytes += num_bytes - self._held.pop(holder, 0)
        if num_bytes:
            self._held[holder] = num_bytes
        if self.num_bytes > self._max_bytes:
            max(self._held, key=self._held.__getitem__).shed()
