"""Responses sent by threads beside the loop's, which waits for none of them."""

import queue
import threading
from collections import deque
from itertools import groupby

from backend.generation import Call
from backend.responses import Delta


class Delivery:
    """Threads that send what calls are told; none with 0, where each call sends for itself.

    Sending to Triton waits for its answer, about 0.1 ms, and those of several threads overlap.
    Deltas wait for `flush`, so that the loop is not interrupted while it hands them out. What a
    sequence gained while its turn had not come goes out as one response: when the engine is faster
    than sending is, responses carry more tokens, and none is late by more than a turn.
    """

    def __init__(self, num_threads: int) -> None:
        self._postmen = [_Postman() for _ in range(num_threads)]
        self._next = 0

    def of(self, call: Call) -> Call:
        """The call, sent to by one of the threads, always the same: in order."""
        if not self._postmen:
            return call
        self._next = (self._next + 1) % len(self._postmen)
        return _Posted(call, self._postmen[self._next])

    def flush(self) -> None:
        """Send the deltas that calls were told; on the thread that tells them."""
        for postman in self._postmen:
            postman.flush()

    def close(self) -> None:
        """Return when all has been sent."""
        for postman in self._postmen:
            postman.flush()
            postman.rounds.put(None)
        for postman in self._postmen:
            postman.thread.join()


class _Postman:
    def __init__(self) -> None:
        self.told: list[_Posted] = []
        self.rounds: queue.SimpleQueue[list[_Posted] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="postman", daemon=True)
        self.thread.start()

    def flush(self) -> None:
        if self.told:
            told, self.told = self.told, []
            self.rounds.put(told)

    def _run(self) -> None:
        while (calls := self.rounds.get()) is not None:
            for call in calls:
                call.post()


class _Posted:
    """A call whose deltas wait for their turn, and what ends it behind them.

    A deque needs no lock here: what is put after `post` began is posted by it, or once more.
    """

    def __init__(self, call: Call, postman: _Postman) -> None:
        self._call = call
        self._postman = postman
        self._is_due = False
        self._waiting: deque[tuple[Delta, bool] | Exception | None] = deque()

    def is_cancelled(self) -> bool:
        return self._call.is_cancelled()

    def send(self, delta: Delta, is_final: bool) -> None:
        self._waiting.append((delta, is_final))
        if not self._is_due:
            self._is_due = True
            self._postman.told.append(self)

    def end(self) -> None:
        self._put(None)

    def fail(self, error: Exception) -> None:
        self._put(error)

    def post(self) -> None:
        """Send what waits."""
        self._is_due = False
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if len(waiting) == 1 and isinstance(waiting[0], tuple):  # the usual case
            self._call.send(*waiting[0])
            return
        for sequence, items in groupby(waiting, _sequence):
            if sequence is None:
                self._finish(list(items))
            else:
                self._send([item for item in items if isinstance(item, tuple)])

    def _put(self, ending: Exception | None) -> None:
        self._waiting.append(ending)
        self._postman.rounds.put([self])

    def _send(self, items: list[tuple[Delta, bool]]) -> None:
        delta = Delta.joined([delta for delta, _ in items])
        self._call.send(delta, items[-1][1])

    def _finish(self, items: list[tuple[Delta, bool] | Exception | None]) -> None:
        for item in items:
            if isinstance(item, Exception):
                self._call.fail(item)
            else:
                self._call.end()


def _sequence(item: tuple[Delta, bool] | Exception | None) -> int | None:
    """The sequence that an item is of; None for what ends a call."""
    return item[0].index if isinstance(item, tuple) else None
