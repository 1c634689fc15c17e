"""The requests that are being answered, of every face: a server that stops waits for them."""

import asyncio
import time
from collections.abc import Callable

import structlog

from gateway.errors import EngineUnavailable

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.1
TELL_EVERY_S = 5.0
LAST_WORDS_S = 1.0
RETRY_AFTER_S = 1.0


class UnderWay:
    """The tasks that answer. Once `is_over`, those that are cancelled say that the server stops."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self.is_over = False

    def enter(self) -> None:
        """Count the current task in."""
        if task := asyncio.current_task():
            self._tasks.add(task)

    def leave(self) -> None:
        """Count the current task out."""
        if task := asyncio.current_task():
            self._tasks.discard(task)

    async def finish(self, limit_s: float, is_forced: Callable[[], bool]) -> None:
        """Wait until all are answered, and tell what is waited for; then end the rest.

        They are ended after `limit_s` seconds, or as soon as `is_forced`.
        """
        until_s = time.monotonic() + limit_s
        told_s = 0.0
        while self._tasks and not is_forced() and (left_s := until_s - time.monotonic()) > 0:
            if time.monotonic() - told_s >= TELL_EVERY_S:
                told_s = time.monotonic()
                self._tell(left_s)
            await asyncio.sleep(min(LOOK_EVERY_S, left_s))
        await self._end()

    def _tell(self, left_s: float) -> None:
        log.warning(
            "draining",
            waiting_for=_counted(len(self._tasks)),
            left_s=round(left_s),
            hint="Ctrl-C again ends them",
        )

    async def _end(self) -> None:
        self.is_over = True
        if not self._tasks:
            return
        log.warning("drain_over", ended=_counted(len(self._tasks)))
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=LAST_WORDS_S)


def stopping() -> EngineUnavailable:
    """Return what those are told whose answers are ended."""
    return EngineUnavailable("The server is stopping.", retry_after_s=RETRY_AFTER_S)


def _counted(number: int) -> str:
    return "1 answer" if number == 1 else f"{number} answers"
