"""A client that leaves takes its work with it."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

T = TypeVar("T")


class ClientGone(Exception):
    """The client closed its connection before there was anything to send."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` returns; cancel it and raise ClientGone when the client leaves first.

    The body must have been read: what the connection says next is then that it is closed.
    """
    task = asyncio.current_task()
    departure = asyncio.ensure_future(request.receive())
    is_working = True

    def leave(_: object) -> None:
        if is_working and task:
            task.cancel()

    departure.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if departure.done() and not departure.cancelled():
            raise ClientGone from None
        raise
    finally:
        is_working = False
        departure.cancel()
