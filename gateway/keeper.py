"""Keeps a model in service: its replicas found and looked after, what they offer put to use."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import structlog

from gateway.blueprints import Blueprint
from gateway.models import Models
from gateway.triton.contract import ContractMismatch
from gateway.triton.deployment import engine_of
from gateway.triton.monitor import Monitor
from gateway.triton.replica import Replica
from gateway.triton.replicas import Replicas

log = structlog.get_logger(__name__)

RETURNS_LOOK_S = 0.25


class Keeper:
    """Looks after the replicas of one model, and puts the engine that they offer into service."""

    def __init__(self, models: Models, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        self.offered = asyncio.Event()
        self.replicas = Replicas(blueprint.settings.triton.policy)
        self._models = models
        self._discovery = blueprint.discovery()
        self._monitors: dict[str, Monitor] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._finding: asyncio.Task[None] | None = None
        self._offered: tuple[object, ...] = ()
        self._is_running = self._is_giving_way = False
        models.expect(blueprint.names, "Its Triton has not been probed yet.")

    async def start(self) -> None:
        """Put the model into service if one of its Tritons answers.

        Raises ContractMismatch where all that answer do so with a contract that cannot be used.
        """
        async with aclosing(self._discovery.addresses()) as found:
            self._take(await anext(found))
        starts = (monitor.start() for monitor in self._monitors.values())
        results = await asyncio.gather(*starts, return_exceptions=True)
        refusals = [each for each in results if isinstance(each, ContractMismatch)]
        for monitor, result in zip(self._monitors.values(), results, strict=True):
            if isinstance(result, ContractMismatch):
                monitor.retire(str(result))
            elif isinstance(result, BaseException):
                raise result
        if refusals and self.replicas.reason:
            raise refusals[0]
        self.replicas.on_change = self._offer
        self._offer()

    async def run(self) -> None:
        """Keep the model in service; returns only when cancelled."""
        self._is_running = self.replicas.starts_slowly = True
        self.replicas.on_change = self._offer
        for address, monitor in self._monitors.items():
            self._watch(address, monitor)
        self._finding = asyncio.ensure_future(self._find())
        try:
            while True:
                await asyncio.sleep(RETURNS_LOOK_S)
                self.replicas.note_returns()
        finally:
            self._is_running = False
            tasks = [self._finding, *self._tasks.values(), *self._leaving]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def move(self, blueprint: Blueprint) -> None:
        """Look for the replicas elsewhere; nothing else in the blueprint differs."""
        self.blueprint = blueprint
        self._discovery = blueprint.discovery()
        if self._finding:
            self._finding.cancel()
            self._finding = asyncio.ensure_future(self._find())

    def give_way(self) -> None:
        """Offer no more: another keeper does, or nobody."""
        self.replicas.on_change = lambda: None
        self._is_giving_way = True

    async def close(self) -> None:
        """Let go of the Tritons; what runs on them is cancelled."""
        monitors = self._monitors.values()
        await asyncio.gather(*(one.replica.channel.close() for one in monitors))

    async def drained(self) -> None:
        """Return when nothing is open at any replica."""
        await asyncio.gather(*(one.idle() for one in self.replicas.members))

    def _take(self, addresses: Sequence[str]) -> None:
        """Take replicas in that are new, and let those go that are no longer named."""
        for address in [one for one in self._monitors if one not in addresses]:
            self._let_go(address)
        for address in addresses:
            if address not in self._monitors:
                self._add(address)
        if not addresses:
            self._offer()

    def _add(self, address: str) -> None:
        blueprint = self.blueprint
        channel, triton = blueprint.channel(address), blueprint.settings.triton
        replica = Replica(
            channel, triton.model, blueprint.first_token_timeout_s, blueprint.token_timeout_s
        )
        monitor = Monitor(
            blueprint.settings.id,
            self.replicas,
            replica,
            blueprint.served_with,
            blueprint.stall_timeout_s,
            triton.metrics_port,
        )
        self.replicas.add(replica)
        self._monitors[address] = monitor
        if self._is_running:
            log.info("replica_added", model=blueprint.settings.id, triton=address)
            self._watch(address, monitor)

    def _watch(self, address: str, monitor: Monitor) -> None:
        self._tasks[address] = asyncio.ensure_future(monitor.run())

    def _let_go(self, address: str) -> None:
        monitor, task = self._monitors.pop(address), self._tasks.pop(address, None)
        log.info("replica_removed", model=self.blueprint.settings.id, triton=address)
        self.replicas.remove(monitor.replica)
        leaving = asyncio.ensure_future(_leave(monitor.replica, task))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _find(self) -> None:
        async for addresses in self._discovery.addresses():
            self._take(addresses)

    def _offer(self) -> None:
        """Put into service what the replicas have in common now, if that is news."""
        replicas, blueprint = self.replicas, self.blueprint
        reason = replicas.reason
        if not any(one.contract for one in replicas.members):
            self._models.expect(blueprint.names, reason)
            return
        offer = (replicas.version, replicas.features, replicas.max_model_len)
        if reason or offer == self._offered or self._is_giving_way:
            return
        self._offered = offer
        engine = engine_of(replicas, blueprint.served_with)
        for model in blueprint.models(engine):
            self._models.add(model)
        self.offered.set()
        log.info(
            "model_ready",
            model=blueprint.settings.id,
            max_model_len=engine.max_model_len,
            replicas=len(replicas.members),
            features=sorted(feature.name.lower() for feature in engine.features),
        )


async def _leave(replica: Replica, monitoring: asyncio.Task[None] | None) -> None:
    """Let a replica finish what it has, looked after until then, and go."""
    try:
        await replica.idle()
    finally:
        if monitoring:
            monitoring.cancel()
        await replica.channel.close()
