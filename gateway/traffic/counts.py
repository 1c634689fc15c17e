"""Who keeps the ledger: this process, or a store that several share, asked for many at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from secrets import token_hex
from typing import Protocol

import msgspec
import structlog

from gateway.traffic.ledger import Demand, Kind, Ledger, Refund, State, Verdict

log = structlog.get_logger(__name__)

LEASE_MS = 5000
"""Without a word for so long, a gateway is taken for dead, and its places are free."""
RENEW_S = 1.0
DOWN_S = 1.0
"""A store that failed is left alone for so long."""
MAX_BATCH = 256


class Policy(Enum):
    """What happens while the store that limits are shared through cannot be reached."""

    CLOSED = "closed"
    OPEN = "open"
    LOCAL = "local"


class StoreDown(Exception):
    """Limits cannot be looked at, and the policy is to let nobody in."""


class StoreError(Exception):
    """The store did not answer, or not in time."""


class Counts(Protocol):
    """Keeps the ledger."""

    async def take(self, demands: Sequence[Demand]) -> Verdict:
        """Take what all demands need, or nothing. Raises StoreDown."""

    def give(self, refunds: Sequence[Refund]) -> None:
        """Put back what was not used; free places. Never waits."""


class LocalCounts:
    """The ledger of one process alone."""

    def __init__(self) -> None:
        self._ledger = Ledger()

    async def take(self, demands: Sequence[Demand]) -> Verdict:
        return self._ledger.take("", demands, time.monotonic() * 1000)

    def give(self, refunds: Sequence[Refund]) -> None:
        self._ledger.give("", refunds, time.monotonic() * 1000)


class Batch(msgspec.Struct, array_like=True):
    """What a store is asked in one step. With `renews`, `held` is all the places held."""

    renews: bool
    held: dict[str, int]
    takes: list[Sequence[Demand]]
    gives: list[Refund]


class Outcome(msgspec.Struct, array_like=True):
    """What a store answers: how many share it, and a verdict for each take."""

    num_holders: int
    verdicts: list[Verdict]


class Store(Protocol):
    """Where several keep one ledger."""

    async def run(self, holder: str, batch: Batch) -> Outcome:
        """Do all of a batch in one step. Raises StoreError."""

    async def close(self) -> None:
        """Let go of the connection."""


class SharedCounts:
    """A ledger in a store. What comes while it is being asked is asked for together.

    Places are leased: the store frees those of a gateway that says nothing for five seconds.
    """

    def __init__(
        self, store: Store, policy: Policy, on_failure: Callable[[], None] = lambda: None
    ) -> None:
        """`on_failure` is called for every request that the policy decides."""
        self.num_failures = 0
        self._store, self._policy, self._on_failure = store, policy, on_failure
        self._holder = token_hex(8)
        self._takes: list[tuple[Sequence[Demand], asyncio.Future[Verdict]]] = []
        self._gives: list[Refund] = []
        self._held: Counter[str] = Counter()
        self._sending: asyncio.Task[None] | None = None
        self._down_until = 0.0
        self._renew_at = 0.0
        self._is_down = False
        self._num_holders = 1
        self._own = Ledger()

    async def take(self, demands: Sequence[Demand]) -> Verdict:
        if time.monotonic() < self._down_until:
            return self._without_store(demands)
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._takes.append((demands, answer))
        self._wake()
        try:
            verdict = await answer
        except StoreError:
            return self._without_store(demands)
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and not answer.exception():
                self._undo(demands, answer.result())
            raise
        return verdict

    def give(self, refunds: Sequence[Refund]) -> None:
        own = [_local(one) for one in refunds if one.slot < 0]
        if own:
            self._own.give("", own, time.monotonic() * 1000)
        for refund in refunds:
            if refund.slot >= 0:
                if refund.kind is Kind.CONCURRENT:
                    self._hold(refund.name, refund.extra)
                self._gives.append(refund)
        if self._gives:
            self._wake()

    async def keep(self) -> None:
        """Say again and again that this gateway lives, until cancelled."""
        try:
            while True:
                self._wake()
                await asyncio.sleep(RENEW_S)
        finally:
            if sending := self._sending:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            await self._store.close()

    def _wake(self) -> None:
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while True:
                await self._send()
                if not (self._takes or self._gives):
                    return
        finally:
            self._sending = None

    async def _send(self) -> None:
        now = time.monotonic()
        takes, self._takes = self._takes[:MAX_BATCH], self._takes[MAX_BATCH:]
        if now < self._down_until:
            _refuse(takes)
            self._gives.clear()
            return
        gives, self._gives = self._gives[:MAX_BATCH], self._gives[MAX_BATCH:]
        renews = now >= self._renew_at
        held = dict(self._held) if renews else {}
        if renews:  # told whole, and so not by what changes it as well
            gives = [one for one in gives if one.kind is not Kind.CONCURRENT]
        batch = Batch(renews, held, [demands for demands, _ in takes], gives)
        try:
            outcome = await self._store.run(self._holder, batch)
        except StoreError as error:
            self._fail(str(error))
            _refuse(takes)
            return
        self._succeed(outcome, renews, now)
        self._answer(takes, outcome.verdicts)

    def _answer(
        self,
        takes: list[tuple[Sequence[Demand], "asyncio.Future[Verdict]"]],
        verdicts: list[Verdict],
    ) -> None:
        for (demands, answer), verdict in zip(takes, verdicts, strict=True):
            if verdict.broken < 0:
                for demand in demands:
                    if demand.kind is Kind.CONCURRENT:
                        self._hold(demand.name, demand.need)
            if answer.cancelled():
                self._undo(demands, verdict)
            else:
                answer.set_result(verdict)

    def _undo(self, demands: Sequence[Demand], verdict: Verdict) -> None:
        if verdict.broken < 0:
            self.give(undone(demands, verdict.slot))

    def _hold(self, name: str, number: int) -> None:
        self._held[name] += number
        if self._held[name] <= 0:
            del self._held[name]

    def _succeed(self, outcome: Outcome, renews: bool, now: float) -> None:
        self._num_holders = max(1, outcome.num_holders)
        if renews:
            self._renew_at = now + RENEW_S
        if self._is_down:
            self._is_down = False
            self._own = Ledger()
            log.warning("limits_shared_again")

    def _fail(self, reason: str) -> None:
        self._down_until = time.monotonic() + DOWN_S
        self._renew_at = 0.0
        if not self._is_down:
            self._is_down = True
            log.error("limits_store_down", reason=reason, policy=self._policy.value)

    def _without_store(self, demands: Sequence[Demand]) -> Verdict:
        self.num_failures += 1
        self._on_failure()
        if self._policy is Policy.CLOSED:
            raise StoreDown
        if self._policy is Policy.OPEN:
            return Verdict(-1, 0, -1, [State(demand.amount, 0) for demand in demands])
        share = [
            Demand(one.name, one.kind, max(one.need, one.amount // self._num_holders), one.need)
            for one in demands
        ]
        verdict = self._own.take("", share, time.monotonic() * 1000)
        return msgspec.structs.replace(verdict, slot=-1 - verdict.slot)


def undone(demands: Sequence[Demand], slot: int) -> list[Refund]:
    """Return what puts back all that was taken."""
    return [Refund(one.name, one.kind, slot, -one.need) for one in demands]


def _local(refund: Refund) -> Refund:
    """Return a refund of what was taken while the store was down, as our own ledger counts it."""
    return msgspec.structs.replace(refund, slot=-1 - refund.slot)


def _refuse(takes: list[tuple[Sequence[Demand], "asyncio.Future[Verdict]"]]) -> None:
    for _, answer in takes:
        if not answer.done():
            answer.set_exception(StoreError("the store is down"))
