"""Whose turn it is: clients that say much wait for one another, and nobody else waits for them."""

import asyncio
from collections import deque
from typing import Protocol

SMALL_BYTES = 2**13
"""Are handled at once, even while others wait: a call, say."""

PAUSE_S = 0.005
"""Between the turns of all who say much for nothing: they have a tenth of the time at most."""


class Waiting(Protocol):
    """A connection with something left to handle."""

    def take_turn(self) -> None:
        """Handle a little of it; queue again where that is not all."""


class Turns:
    """A queue of which one has its turn in each turn of the loop, and one for those who try us."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._trying: deque[Waiting] = deque()

    def is_free(self, num_bytes: int) -> bool:
        """Tell whether so much may be handled at once."""
        return num_bytes <= SMALL_BYTES or not (self._waiting or self._trying)

    def queue(self, one: Waiting, *, is_trying: bool = False) -> None:
        """Let one have a turn after all others."""
        loop = asyncio.get_running_loop()
        queue = self._trying if is_trying else self._waiting
        if not queue and is_trying:
            loop.call_later(PAUSE_S, self._next_trying)
        elif not queue:
            loop.call_soon(self._next)
        queue.append(one)

    def _next(self) -> None:
        one = self._waiting.popleft()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        one.take_turn()

    def _next_trying(self) -> None:
        one = self._trying.popleft()
        if self._trying:
            asyncio.get_running_loop().call_later(PAUSE_S, self._next_trying)
        one.take_turn()
