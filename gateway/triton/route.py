"""The way of one generation through the replicas: where it went, and what became of it there."""

import time
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.generation import Lora
from gateway.triton.prefixes import NOTHING_EXPECTED, Expected
from gateway.triton.replica import Replica
from gateway.triton.work import Work


@dataclass(slots=True, eq=False)
class Route:
    """Where a generation went. Its deadline is one for all the calls that are made for it."""

    work: Work
    lora: Lora | None = None
    may_repeat: bool = False
    tried: list[Replica] = field(default_factory=list)
    errors: list[GatewayError] = field(default_factory=list)
    readapted: list[Replica] = field(default_factory=list)
    is_lost: bool = False
    expected: Expected = NOTHING_EXPECTED
    repeat_began: float | None = None
    _deadline: float | None = None

    def deadline_of(self, replica: Replica) -> float:
        """Return until when, on `time.monotonic`'s clock, the calls to any replica may last."""
        if self._deadline is None:
            self._deadline = time.monotonic() + replica.channel.timeout_s()
        return self._deadline

    def note(self, replica: Replica, error: GatewayError) -> None:
        """Note that a replica failed."""
        self.tried.append(replica)
        self.errors.append(error)
        self.is_lost = False
