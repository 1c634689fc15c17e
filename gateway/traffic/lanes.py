"""Work off the event loop: so much at once, and what is long never before what is short."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.errors import Overloaded

T = TypeVar("T")

LONG_BYTES = 2**16
"""Work on more goes a lane of its own: this much text takes some 30 milliseconds."""
THREADS = 2
MAX_WAITING = 256


class Errand:
    """One piece of work, which may look whether anybody still waits for it."""

    __slots__ = ("is_wanted",)

    def __init__(self) -> None:
        self.is_wanted = True


class Lanes:
    """Threads for work that takes long: some for short pieces of it, as many for long ones."""

    def __init__(self, name: str, threads: int = THREADS) -> None:
        self._short = _Lane(name, threads)
        self._long = _Lane(f"{name}-long", threads)

    async def run(self, num_bytes: int, work: Callable[[Errand], T]) -> T:
        """Return what `work` on so many bytes returns; given up when this is cancelled.

        Raises Overloaded where too much waits already.
        """
        return await (self._long if num_bytes > LONG_BYTES else self._short).run(work)

    def close(self) -> None:
        """Let go of the threads."""
        self._short.pool.shutdown(wait=False, cancel_futures=True)
        self._long.pool.shutdown(wait=False, cancel_futures=True)


class _Lane:
    def __init__(self, name: str, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._num_held = 0

    async def run(self, work: Callable[[Errand], T]) -> T:
        if self._num_held >= MAX_WAITING:
            raise Overloaded("Too many requests wait to be read.", retry_after_s=1)
        errand = Errand()
        self._num_held += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, work, errand)
        finally:
            errand.is_wanted = False
            self._num_held -= 1
