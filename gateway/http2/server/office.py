"""What a connection finds at its server."""

import asyncio
from typing import Protocol

from gateway.http2.server.handlers import Method
from gateway.http2.server.limits import Limits
from gateway.http2.server.requests import Request
from gateway.http2.server.store import Holder, Store
from gateway.http2.server.turns import Turns


class Visitor(Holder, Protocol):
    """A connection; `heard_at` is when its client last said something, in the loop's time."""

    heard_at: float
    lost: asyncio.Future[None]

    @property
    def is_idle(self) -> bool:
        """Tell whether there are no calls."""

    def drain(self) -> None:
        """Ask the client to leave; the connection ends with its last call."""

    def end(self) -> None:
        """Cut all calls off and say goodbye."""

    def abort(self) -> None:
        """Close without waiting for a client that does not read."""


class Office(Protocol):
    """Where a connection belongs."""

    limits: Limits
    store: Store
    turns: Turns

    def admit(self, visitor: Visitor) -> bool:
        """Know of a connection, if there is room for one more."""

    def dismiss(self, visitor: Visitor) -> None:
        """Forget a connection that has ended."""

    def find(self, request: Request) -> Method | None:
        """Return the method that a request is for."""

    def enlist(self, task: asyncio.Task[None]) -> None:
        """Know of a handler that runs."""
