"""The messages of one call that its handler has not read yet."""

import asyncio
from collections import deque


class Inbox:
    """A queue with an end."""

    def __init__(self) -> None:
        self.num_put = 0
        self.is_closed = False
        self._messages: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: bytes) -> None:
        """Append a message."""
        self.num_put += 1
        self._messages.append(message)
        self._wake()

    def close(self) -> None:
        """Note that no more will come."""
        self.is_closed = True
        self._wake()

    async def next(self) -> bytes | None:
        """Return the next message, None when there is none and no more will come."""
        while not self._messages:
            if self.is_closed:
                return None
            await self._change()
        return self._messages.popleft()

    async def closed(self) -> None:
        """Wait until no more will come."""
        while not self.is_closed:
            await self._change()

    async def _change(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
