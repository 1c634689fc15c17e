"""Whether a generation that failed may go to another replica. Pure.

Generating has no effect but its answer, so whatever failed before its first token may run again,
if the failure does not say that it would fail anywhere. What moves is bounded: a generation that
is the death of every replica it meets meets three at most.
"""

from collections.abc import Iterable
from enum import Enum

from gateway.errors import EngineFailure, EngineUnavailable, GatewayError, Overloaded

MAX_TRIES = 3
LEAST_RETRIES = 3
SHARE_OF_LIVE = 0.2


class Again(Enum):
    """What a failure allows: MOVE off a replica that is lost, RETRY elsewhere within the budget."""

    NEVER = "never"
    RETRY = "retry"
    MOVE = "move"


def verdict(error: GatewayError, earlier: Iterable[GatewayError], *, is_lost: bool) -> Again:
    """Return what may follow an error, and those that other replicas gave `earlier`."""
    known = tuple(earlier)
    if len(known) + 1 >= MAX_TRIES:
        return Again.NEVER
    if isinstance(error, EngineUnavailable):
        return Again.MOVE if is_lost else Again.RETRY
    if isinstance(error, Overloaded):
        return Again.RETRY
    is_first_failure = not any(isinstance(one, EngineFailure) for one in known)
    if isinstance(error, EngineFailure) and is_first_failure:
        return Again.RETRY
    return Again.NEVER


class RetryBudget:
    """How many calls may be repeats at once: a fifth of those that are live, and three at least.

    A repeat counts until its call ends, and for a second at least, so that repeats that fail at
    once are bounded too.
    """

    def __init__(self) -> None:
        self.num_spent = 0
        self.num_refused = 0
        self._num_open = 0
        self._ended: list[float] = []

    def allows(self, num_live: int, now: float) -> bool:
        """Tell whether one more is within the budget, and count it in if so."""
        self._ended = [ended for ended in self._ended if ended > now]
        limit = max(LEAST_RETRIES, int(SHARE_OF_LIVE * num_live))
        if self._num_open + len(self._ended) >= limit:
            self.num_refused += 1
            return False
        self.num_spent += 1
        self._num_open += 1
        return True

    def end(self, began: float, now: float) -> None:
        """Note the end of a repeat that began at some time."""
        self._num_open -= 1
        if began + 1.0 > now:
            self._ended.append(began + 1.0)
