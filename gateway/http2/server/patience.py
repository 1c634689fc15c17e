"""What a client may do often, and how often, before it is sent away."""

from gateway.http2.frames import ErrorCode, ProtocolError

PING_INTERVAL_S = 10
MAX_PING_STRIKES = 2
"""As gRPC counts: a ping too early is a strike, and what we send in between forgives all."""

MAX_NUISANCES = 1000
NUISANCES_PER_S = 33


class PingWatch:
    """Counts pings that come too early."""

    def __init__(self) -> None:
        self._allowed_at = 0.0
        self._strikes = 0
        self._num_sent = 0

    def note(self, now: float, num_sent: int) -> None:
        """Take a ping, after we sent so many messages and headers in all. Raises ProtocolError."""
        if num_sent != self._num_sent:
            self._num_sent, self._strikes, self._allowed_at = num_sent, 0, now
        is_early = now < self._allowed_at
        self._allowed_at = now + PING_INTERVAL_S
        self._strikes += is_early
        if self._strikes > MAX_PING_STRIKES:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")


class Allowance:
    """So many nuisances at once, and a slow trickle of them for ever.

    A nuisance is what costs us more than the client: a call given up, a call that breaks HTTP,
    settings, data of no bytes.
    """

    def __init__(self, now: float) -> None:
        self._left = float(MAX_NUISANCES)
        self._counted_at = now

    def spend(self, now: float) -> None:
        """Take one nuisance. Raises ProtocolError when there were too many."""
        refill = (now - self._counted_at) * NUISANCES_PER_S
        self._left = min(self._left + refill, MAX_NUISANCES) - 1
        self._counted_at = now
        if self._left < 0:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, "too many calls given up")
