"""The messages of one call that its handler has not read yet."""

import asyncio
from collections import deque


class Inbox:
    """A queue with an end."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._is_closed = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: bytes) -> None:
        """Append a message."""
        self._messages.append(message)
        self._wake()

    def close(self) -> None:
        """Note that no more will come."""
        self._is_closed = True
        self._wake()

    async def next(self) -> bytes | None:
        """Return the next message, None when there is none and no more will come."""
        while not self._messages:
            if self._is_closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._messages.popleft()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
