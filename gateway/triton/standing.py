"""How far a replica is trusted that answers: ejected after failures, let back in by and by. Pure.

Times are seconds on any one clock, `chance` numbers from 0 to 1.
"""

from dataclasses import dataclass

CONSECUTIVE_FAILURES = 5
FIRST_EJECTION_S = 5.0
LONGEST_EJECTION_S = 120.0
JITTER = 0.2
SLOW_START_S = 10.0
LEAST_SHARE = 0.1
LEAST_TOKENS_PER_S = 100.0


@dataclass(slots=True)
class Standing:
    """What is held against a replica."""

    num_failures: int = 0
    num_ejections: int = 0
    ejected_until: float = 0.0
    returned_at: float | None = None
    full_tokens_per_s: float = 0.0
    _credit_tokens: float = 0.0
    _credited_at: float = 0.0

    @property
    def is_starting(self) -> bool:
        """Whether it is let back in by and by."""
        return self.returned_at is not None

    def note_success(self) -> None:
        """Note a call that went well."""
        self.num_failures = 0

    def note_failure(self) -> bool:
        """Note a call that the replica failed; tell whether that was one too many."""
        self.num_failures += 1
        return self.num_failures >= CONSECUTIVE_FAILURES

    def eject(self, now: float, chance: float) -> float:
        """Leave the replica alone for a time that grows with every ejection; return the time."""
        self.num_failures = 0
        self.num_ejections += 1
        grown: float = FIRST_EJECTION_S * 2 ** min(self.num_ejections - 1, 10)
        seconds = min(grown, LONGEST_EJECTION_S) * (1 + JITTER * (2 * chance - 1))
        self.ejected_until = now + seconds
        return seconds

    def come_back(self, now: float, full_tokens_per_s: float) -> None:
        """Begin to serve slowly: one call at first, then tokens at a rate that grows to the full.

        `full_tokens_per_s`, of prompts and answers, is a fair share of what the pool is asked for.
        """
        self.ejected_until = 0.0
        self.returned_at = self._credited_at = now
        self._credit_tokens = 0.0
        self.full_tokens_per_s = max(full_tokens_per_s, LEAST_TOKENS_PER_S)

    def allowed_tokens_per_s(self, now: float) -> float:
        """Return the rate of tokens that may go there now."""
        if self.returned_at is None:
            return float("inf")
        share = min(1.0, max(LEAST_SHARE, (now - self.returned_at) / SLOW_START_S))
        return share * self.full_tokens_per_s

    def admits(self, now: float) -> bool:
        """Tell whether a call may go there; after slow start, any may."""
        if self.returned_at is None:
            return True
        if now - self.returned_at >= SLOW_START_S:
            self.returned_at = None
            self.num_ejections = max(0, self.num_ejections - 1)
            return True
        rate = self.allowed_tokens_per_s(now)
        self._credit_tokens = min(rate, self._credit_tokens + rate * (now - self._credited_at))
        self._credited_at = now
        return self._credit_tokens >= 0

    def spend(self, num_tokens: float) -> None:
        """Note a call of so many tokens that goes there."""
        if self.returned_at is not None:
            self._credit_tokens -= num_tokens


def may_eject(num_serving: int, num_members: int) -> bool:
    """Tell whether one more may be ejected: half of the pool, and one in any case, goes on."""
    return num_serving - 1 >= max(1, -(-num_members // 2))
