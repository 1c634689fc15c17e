"""What a client may do often, and how often, before it is sent away."""

from collections.abc import Callable
from typing import Protocol

from gateway.http2.frames import ErrorCode, ProtocolError

PING_INTERVAL_S = 10
MAX_PING_STRIKES = 2
"""As gRPC counts: a ping too early is a strike, and what we send in between forgives all."""

MAX_NUISANCES = 1000
NUISANCES_PER_S = 100

MAX_FRAMES = 4000
FRAMES_PER_S = 1000
FRAMES_PER_SENT = 4
"""Of frames that carry nothing: clients send a few for each call, and for what they receive."""

FRAMES_A_SETTLEMENT = 250
"""Are counted one by one, so that a frame costs next to nothing; then the clock is asked."""

SOON_S = 0.05
LATER = 1 / 8
"""A call given up that soon is a nuisance; one that ran for longer, an eighth of one."""


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
    """So much at once, and a slow trickle of it for ever."""

    def __init__(self, most: float, per_s: float, now: float, complaint: str) -> None:
        self._most, self._per_s = most, per_s
        self._left = most
        self._counted_at = now
        self._complaint = complaint

    def is_worn(self, now: float) -> bool:
        """Tell whether an eighth of it is gone."""
        return self._left + (now - self._counted_at) * self._per_s < self._most * 7 / 8

    def spend(self, now: float, amount: float, earned: float = 0.0) -> None:
        """Take so much of what is left, and of what was earned. Raises ProtocolError if it ends."""
        refill = (now - self._counted_at) * self._per_s + earned
        self._left = min(self._left + refill, self._most) - amount
        self._counted_at = now
        if self._left < 0:
            raise ProtocolError(ErrorCode.ENHANCE_YOUR_CALM, self._complaint)


class Said(Protocol):
    """What we have said to a client."""

    @property
    def num_sent(self) -> int:
        """Tell how many messages and headers there were."""


class Patience:
    """What one client has left of all that; `is_worn` while it has lately said much for nothing.

    A nuisance is what costs us more than the client: a call given up before we said anything, a
    call that breaks HTTP, settings, data of no bytes. Frames are cheap, and counted where they
    bring nothing.
    """

    def __init__(self, clock: Callable[[], float], said: Said) -> None:
        self._clock = clock
        self._said = said
        self._pings = PingWatch()
        self._nuisances = Allowance(
            MAX_NUISANCES, NUISANCES_PER_S, clock(), "too many calls given up or gone wrong"
        )
        self._frames = Allowance(
            MAX_FRAMES, FRAMES_PER_S, clock(), "too many frames that carry nothing"
        )
        self._num_sent = 0
        self._num_unsettled = 0

    @property
    def is_worn(self) -> bool:
        now = self._clock()
        return self._nuisances.is_worn(now) or self._frames.is_worn(now)

    def ping(self) -> None:
        """Take a ping. Raises ProtocolError."""
        self._pings.note(self._clock(), self._said.num_sent)

    def frame(self) -> None:
        """Take a frame that carries nothing. Raises ProtocolError."""
        self._num_unsettled += 1
        if self._num_unsettled >= FRAMES_A_SETTLEMENT:
            self._settle()

    def _settle(self) -> None:
        earned = (self._said.num_sent - self._num_sent) * FRAMES_PER_SENT
        self._num_sent = self._said.num_sent
        num_frames, self._num_unsettled = self._num_unsettled, 0
        self._frames.spend(self._clock(), num_frames, earned)

    def nuisance(self, weight: float = 1.0) -> None:
        """Take a nuisance. Raises ProtocolError."""
        self._nuisances.spend(self._clock(), weight)

    def early_end(self, opened_at: float) -> None:
        """Take the end of a call to which we had said nothing yet. Raises ProtocolError."""
        self.nuisance(1.0 if self._clock() - opened_at < SOON_S else LATER)
