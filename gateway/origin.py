"""What a caller's request brings along all the way to Triton: its deadline, its ids. Ambient."""

import math
import time
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from. `deadline` is on `time.monotonic`'s clock."""

    deadline: float = math.inf
    metadata: tuple[tuple[str, str], ...] = ()

    def timeout_s(self, limit: float | None) -> float | None:
        """Return the seconds that are left, `limit` at most; None where neither is set."""
        left = max(0.0, self.deadline - time.monotonic())
        if limit is not None:
            left = min(left, limit)
        return None if left == math.inf else left


origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039
"""The origin of the request that the current task works for."""
