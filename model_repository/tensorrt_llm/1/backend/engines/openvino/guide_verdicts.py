"""What became of guides that were compiled, as much of it as fits. Pure."""

import threading
from collections import OrderedDict

from backend.contract import Guide

_CHARACTER_BYTES = 4
_ENTRY_BYTES = 256


class Verdicts:
    """Why each guide was refused, "" for one that was not: the latest whose texts fit."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._by_guide: OrderedDict[Guide, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, guide: Guide) -> str | None:
        """The verdict, None where there is none."""
        with self._lock:
            if guide in self._by_guide:
                self._by_guide.move_to_end(guide)
            return self._by_guide.get(guide)

    def put(self, guide: Guide, verdict: str) -> None:
        """Remember a verdict, at the cost of the oldest. A long text is not remembered."""
        with self._lock:
            self._num_bytes += _size(guide, verdict) - self._forget(guide)
            self._by_guide[guide] = verdict
            while self._num_bytes > self._max_bytes:
                self._num_bytes -= self._forget(next(iter(self._by_guide)))

    def _forget(self, guide: Guide) -> int:
        verdict = self._by_guide.pop(guide, None)
        return 0 if verdict is None else _size(guide, verdict)


def _size(guide: Guide, verdict: str) -> int:
    return _CHARACTER_BYTES * (len(guide.text) + len(verdict)) + _ENTRY_BYTES
