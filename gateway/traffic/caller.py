"""Who asks: what a key, or a token, says of its holder. Ambient while a request is answered."""

import math
from collections.abc import Iterable
from contextvars import ContextVar
from enum import Enum

import msgspec


class Priority(Enum):
    """What waits for whom: `batch` gets what `interactive` leaves."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


class Limits(msgspec.Struct, frozen=True):
    """How much a key may ask for; None is as much as it likes."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


NO_LIMITS = Limits()


class Caller(msgspec.Struct, frozen=True):
    """The holder of a key. `key` is the key's id, which is no secret; the key itself is nowhere.

    `models` are the ids it may use, None for all; `expires_at` is in Unix seconds.
    """

    key: str
    name: str = ""
    tenant: str = ""
    models: frozenset[str] | None = None
    priority: Priority = Priority.INTERACTIVE
    limits: Limits = NO_LIMITS
    is_admin: bool = False
    expires_at: float = math.inf

    def may_use(self, names: Iterable[str]) -> bool:
        """Tell whether a model that goes by these names is for this caller."""
        return self.models is None or not self.models.isdisjoint(names)


ANYONE = Caller("anyone", is_admin=True)
"""Whoever asks where no keys are needed."""

caller: ContextVar[Caller] = ContextVar("caller", default=ANYONE)
"""Whom the current task works for."""
