"""How many connections there may be; what is turned away is told, and seldom."""

import asyncio
import errno
import math
import os
import resource
import time
from collections import Counter
from typing import Any

import structlog

log = structlog.get_logger(__name__)

OPEN_FILES_AIM = 65536
OPEN_FILES_KEPT = 64
"""Of the files that a process may have open, those that are not for HTTP connections."""

EXTRA_CONNECTIONS = 32
"""Above the limit so many are still answered; those beyond are closed at once."""

TELL_EVERY_S = 10.0
LOOK_EVERY_S = 1.0


class Crowd:
    """The limit of connections, and the word about those beyond it."""

    def __init__(self, limit: int, limit_per_address: int = 0) -> None:
        self.limit = limit
        self._per_address = limit_per_address or math.inf
        self._by_address: Counter[str] = Counter()
        self._telling = Telling("connections_refused")

    def enter(self, address: str) -> None:
        """Count a connection from an address."""
        self._by_address[address] += 1

    def leave(self, address: str) -> None:
        """Count a connection from an address out."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def has_many_from(self, address: str, extra: int = 0) -> bool:
        """Tell whether more than may be, and `extra`, are from an address."""
        return self._by_address[address] > self._per_address + extra

    def turn_away(self) -> None:
        """Count a connection that was refused."""
        self._telling.count(
            limit=self.limit,
            hint="raise GATEWAY_MAX_CONNECTIONS, and the limit of open files (ulimit -n)",
        )


class Telling:
    """A warning that may come at any rate, and is written once in ten seconds."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._count = 0
        self._next_s = 0.0

    def count(self, **fields: Any) -> None:
        """Count one more; write how many there were since the last line, if it is time."""
        self._count += 1
        now_s = time.monotonic()
        if now_s >= self._next_s:
            log.warning(self._event, count=self._count, **fields)
            self._count, self._next_s = 0, now_s + TELL_EVERY_S


def room_for(max_connections: int) -> int:
    """Return how many connections can be: what is set, less where files may not be so many.

    The limit of open files is raised as far as the system lets this process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return max_connections
    aim = OPEN_FILES_AIM if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_AIM)
    if soft < aim:
        resource.setrlimit(resource.RLIMIT_NOFILE, (aim, hard))
        soft = aim
    return max(1, min(max_connections, soft - OPEN_FILES_KEPT - EXTRA_CONNECTIONS))


async def watch_open_files() -> None:
    """Warn while no file can be opened: the kernel then refuses connections without a word."""
    telling = Telling("no_more_open_files")
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        try:
            os.close(os.dup(0))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                telling.count(
                    hint="new connections are refused: raise the limit of open files (ulimit -n), "
                    "or lower GATEWAY_MAX_CONNECTIONS"
                )
