"""Where every request of every face comes in: whose it is, what it may use, that it is answered."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

from gateway.access import Access
from gateway.deadlines import note_deadlines
from gateway.settings import ModelSettings, Settings, SettingsError
from gateway.stores import (
    UsageLedger,
    keeps_usage,
    limits_store,
    prices_of,
    usage_folder,
    usage_store,
)
from gateway.telemetry.metrics import USAGE_LOST
from gateway.traffic.caller import ANYONE, Caller, Priority, caller
from gateway.traffic.counts import LocalCounts
from gateway.traffic.desk import Desk
from gateway.traffic.usage import UsageLog
from gateway.under_way import UnderWay
from gateway.visit import Visit, visit

PRIORITY = "x-priority"

Work = list[Coroutine[Any, Any, None]]


def _alone() -> Desk:
    return Desk(LocalCounts())


@dataclass(slots=True)
class Reception:
    """What both exchanges share."""

    access: Access
    under_way: UnderWay = field(default_factory=UnderWay)
    desk: Desk = field(default_factory=_alone)
    usage: UsageLog | None = None
    ledger: UsageLedger | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Reception":
        """Return the reception that settings ask for. Raises SettingsError."""
        return cls(Access(settings))

    def begin(self, request_id: str) -> Visit:
        """Take note of a request. It is to be closed when it has been answered."""
        here = Visit(self.desk, self.usage, request_id)
        visit.set(here)
        return here

    async def admit(self, headers: Mapping[str, str]) -> Caller:
        """Return, and take note of, whose the current request is, and how long it may take.

        Raises Unauthorized, and InvalidRequest for deadlines that are none.
        """
        who = await self.access.admit(headers)
        note_deadlines(headers)
        if headers.get(PRIORITY) == Priority.BATCH.value:  # nobody rises above their key
            who = msgspec.structs.replace(who, priority=Priority.BATCH)
        caller.set(who)
        if here := visit.get():
            here.who = who
        if who.key != ANYONE.key:
            structlog.contextvars.bind_contextvars(key=who.key)
        return who

    @asynccontextmanager
    async def open(
        self, settings: Settings, models: Sequence[ModelSettings] = ()
    ) -> AsyncIterator[None]:
        """Keep keys, limits and usage up to date while the block lasts. Raises SettingsError."""
        work = [
            self.access.watch(),
            *self._share_limits(settings),
            *self._keep_usage(settings, models),
        ]
        tasks = [asyncio.ensure_future(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _share_limits(self, settings: Settings) -> Work:
        counts = limits_store(settings)
        if counts is None:
            self.desk = Desk(LocalCounts(), settings.workers)
            return []
        self.desk = Desk(counts)
        return [counts.keep()]

    def _keep_usage(self, settings: Settings, models: Sequence[ModelSettings]) -> Work:
        if not keeps_usage(settings, has_keys=not self.access.is_open):
            return []
        from gateway.traffic.usage_store import keep_carrying

        store, folder = usage_store(settings), usage_folder(settings)
        try:
            self.usage = UsageLog(folder, USAGE_LOST.inc)
        except OSError as error:
            raise SettingsError(f"GATEWAY_STATE_DIR {folder}: {error.strerror}") from error
        self.ledger = UsageLedger(store, prices_of(models))
        return [keep_carrying(folder, self.usage.journal, store)]
