"""Where log lines go: a file descriptor that may stand still without anybody waiting for it."""

import os
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

MAX_WAITING_BYTES = 2**20
"""Lines beyond this are lost, and counted, while nobody reads the others."""

LAST_WORDS_S = 2.0


class Sink:
    """Writes whole lines to a descriptor at once; what does not go at once waits its turn.

    A pipe, a terminal or a socket that nobody reads takes no more at some point: from then on
    lines wait, up to a bound, for a thread that is there only as long as they do. When they have
    gone, `tell_lost` is called with how many lines had to be dropped.
    """

    def __init__(self, fd: int, tell_lost: Callable[[int], None]) -> None:
        self._write, self._fd = _never_waiting(fd)
        self._tell_lost = tell_lost
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._num_lost = 0

    def write(self, line: bytes) -> None:
        """Write a line now, or let it wait, or drop it. Never blocks."""
        with self._lock:
            is_written = not self._waiting and not (line := self._rest(line))
            if not is_written:
                self._let_wait(line)
        if is_written and self._num_lost:
            self._tell()

    def flush(self, timeout_s: float = LAST_WORDS_S) -> None:
        """Write what waits, as far as somebody reads it within so many seconds."""
        until_s = time.monotonic() + timeout_s
        while self._waiting and _takes_more(self._fd, max(0.0, until_s - time.monotonic())):
            with self._lock:
                self._shift()
        if not self._waiting:
            self._tell()

    def _let_wait(self, line: bytes) -> None:
        if self._waiting_bytes + len(line) > MAX_WAITING_BYTES:
            self._num_lost += 1
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        if len(self._waiting) == 1:
            threading.Thread(target=self._drain, name="log", daemon=True).start()

    def _drain(self) -> None:
        while _takes_more(self._fd, None):
            with self._lock:
                if not self._shift():
                    break
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            num_lost, self._num_lost = self._num_lost, 0
        if num_lost:
            self._tell_lost(num_lost)

    def _shift(self) -> bool:
        """Write the first of what waits; tell whether more does. The lock is held."""
        if self._waiting:
            line = self._waiting.popleft()
            self._waiting_bytes -= len(line)
            if rest := self._rest(line):
                self._waiting.appendleft(rest)
                self._waiting_bytes += len(rest)
        return bool(self._waiting)

    def _rest(self, line: bytes) -> bytes:
        """Write as much of a line as goes at once; return the rest. Nothing is left of one that
        cannot go: its reader is gone, or the disk is full."""
        try:
            return line[self._write(self._fd, line) :]
        except BlockingIOError:
            return line
        except OSError:
            return b""


def _takes_more(fd: int, timeout_s: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))


def _never_waiting(fd: int) -> tuple[Callable[[int, bytes], int], int]:
    """Return what writes to a descriptor without waiting, and to which.

    O_NONBLOCK belongs to what is opened, which other processes share: it is opened again, for
    this process alone. A socket is told with every call; a file never waits.
    """
    try:
        mode = os.fstat(fd).st_mode
    except OSError:  # there is none
        return os.write, fd
    if stat.S_ISSOCK(mode):
        return _send, fd
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            return os.write, os.open(f"/proc/self/fd/{fd}", flags)
        return _write_if_taken, fd
    return os.write, fd


def _send(fd: int, line: bytes) -> int:
    with socket.socket(fileno=os.dup(fd)) as stream:
        return stream.send(line, socket.MSG_DONTWAIT)


def _write_if_taken(fd: int, line: bytes) -> int:
    """Write what a pipe takes at once when it says so: its smallest buffer (pipe(7))."""
    if not _takes_more(fd, 0):
        raise BlockingIOError
    return os.write(fd, line[: select.PIPE_BUF])
