"""How much has been asked for lately: exact counts over sliding minutes. Pure, on a given clock.

What is counted stays counted for a minute and up to one slot more, so that no minute, wherever it
begins, holds more than its limit, and one that is used up at once can be used up again 60.5 s
later. (A token bucket, or GCRA, lets twice its burst through in a minute; with a burst small enough
not to, a request of many tokens would never get in.) `ledger.lua` is the same for Redis.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from enum import IntEnum

import msgspec

WINDOW_MS = 60_000
SLOT_MS = 480
SLOTS = WINDOW_MS // SLOT_MS
BUSY_RETRY_MS = 1000
"""When to come back where a place has to become free: nobody knows."""


class Kind(IntEnum):
    """What a limit counts."""

    REQUESTS = 0
    TOKENS = 1
    CONCURRENT = 2


class Demand(msgspec.Struct, frozen=True, array_like=True):
    """So much of what `name` has: at most `amount`, in a minute or at once."""

    name: str
    kind: Kind
    amount: int
    need: int


class Refund(msgspec.Struct, frozen=True, array_like=True):
    """What was taken and not used, `extra` below 0, or used beyond it; of the slot it is in."""

    name: str
    kind: Kind
    slot: int
    extra: int


class State(msgspec.Struct, frozen=True, array_like=True):
    """What is left of a limit, and in how many milliseconds all of it is."""

    remaining: int
    reset_ms: int


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """Whether demands were met, all or none: `broken` is the number of the first that was not.

    -1 is none. `retry_ms` is when it can be met at the earliest, -1 never.
    """

    broken: int
    retry_ms: int
    slot: int
    states: list[State]


class Ledger:
    """The counts of all limits. `holder` says who takes: what he holds can be dropped with him."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._places: dict[str, dict[str, int]] = {}
        self._sweep_at = 1024

    def take(self, holder: str, demands: Sequence[Demand], now_ms: float) -> Verdict:
        """Take what all demands need, or nothing."""
        slot = int(now_ms // SLOT_MS)
        broken, retry_ms = -1, 0
        for number, demand in enumerate(demands):
            wait_ms = self._wait_ms(demand, now_ms, slot)
            if wait_ms:
                broken, retry_ms = number, wait_ms
                break
        else:
            for demand in demands:
                self._add(holder, demand, slot)
        states = [self._state(demand, now_ms, slot) for demand in demands]
        return Verdict(broken, retry_ms, slot, states)

    def give(self, holder: str, refunds: Iterable[Refund], now_ms: float) -> None:
        """Put back what was not used, count what was used beyond it; free places."""
        for refund in refunds:
            if refund.kind is Kind.CONCURRENT:
                self._leave(refund.name, holder, -refund.extra)
            elif window := self._windows.get(refund.name):
                window.correct(refund.slot, refund.extra, int(now_ms // SLOT_MS))

    def drop(self, holder: str) -> None:
        """Free all the places of one who is gone. What he reserved passes with its minute."""
        for name in list(self._places):
            self._leave(name, holder, 2**62)

    def _wait_ms(self, demand: Demand, now_ms: float, slot: int) -> int:
        if demand.kind is Kind.CONCURRENT:
            held = sum(self._places.get(demand.name, _EMPTY).values())
            return BUSY_RETRY_MS if held + demand.need > demand.amount else 0
        window = self._window(demand.name, slot)
        if window.total + demand.need <= demand.amount:
            return 0
        return window.wait_ms(demand, now_ms)

    def _add(self, holder: str, demand: Demand, slot: int) -> None:
        if demand.kind is Kind.CONCURRENT:
            places = self._places.setdefault(demand.name, {})
            places[holder] = places.get(holder, 0) + demand.need
        else:
            self._windows[demand.name].add(slot, demand.need)

    def _leave(self, name: str, holder: str, number: int) -> None:
        places = self._places.get(name, _EMPTY)
        left = places.pop(holder, 0) - number
        if left > 0:
            places[holder] = left
        elif not places:
            self._places.pop(name, None)

    def _state(self, demand: Demand, now_ms: float, slot: int) -> State:
        if demand.kind is Kind.CONCURRENT:
            held = sum(self._places.get(demand.name, _EMPTY).values())
            return State(max(0, demand.amount - held), 0)
        window = self._window(demand.name, slot)
        return State(max(0, demand.amount - window.total), window.reset_ms(now_ms))

    def _window(self, name: str, slot: int) -> "_Window":
        window = self._windows.get(name)
        if window is None:
            if len(self._windows) >= self._sweep_at:
                self._sweep(slot)
            window = self._windows[name] = _Window()
        window.forget(slot)
        return window

    def _sweep(self, slot: int) -> None:
        """Forget the windows in which nothing is any more."""
        for window in self._windows.values():
            window.forget(slot)
        self._windows = {name: one for name, one in self._windows.items() if one.slots}
        self._sweep_at = max(1024, 2 * len(self._windows))


class _Window:
    """What was counted in the last minute, by slot, the oldest first."""

    __slots__ = ("slots", "total")

    def __init__(self) -> None:
        self.slots: deque[list[int]] = deque()
        self.total = 0

    def forget(self, slot: int) -> None:
        while self.slots and self.slots[0][0] < slot - SLOTS:
            self.total -= self.slots.popleft()[1]

    def add(self, slot: int, amount: int) -> None:
        if not amount:
            return
        if self.slots and self.slots[-1][0] == slot:
            self.slots[-1][1] += amount
        else:
            self.slots.append([slot, amount])
        self.total += amount

    def correct(self, slot: int, extra: int, now: int) -> None:
        self.forget(now)
        if extra > 0:
            self.add(now, extra)
            return
        for one in reversed(self.slots):  # most are put back soon after they were taken
            if one[0] <= slot:
                if one[0] == slot:
                    back = min(-extra, one[1])
                    one[1] -= back
                    self.total -= back
                return

    def wait_ms(self, demand: Demand, now_ms: float) -> int:
        """Return in how long there is room for a demand: 0 is now, -1 is never."""
        if demand.need > demand.amount:
            return -1
        excess = self.total + demand.need - demand.amount
        if excess <= 0:
            return 0
        for slot, amount in self.slots:
            excess -= amount
            if excess <= 0:
                return _ends_in_ms(slot, now_ms)
        return 1

    def reset_ms(self, now_ms: float) -> int:
        return _ends_in_ms(self.slots[-1][0], now_ms) if self.total else 0


_EMPTY: dict[str, int] = {}


def _ends_in_ms(slot: int, now_ms: float) -> int:
    """Return in how long what is in a slot counts no more."""
    return max(1, math.ceil((slot + SLOTS + 1) * SLOT_MS - now_ms))
