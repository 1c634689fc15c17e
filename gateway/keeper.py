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
        self.replicas = Replicas(blueprint.settings.triton.policy)
        self._models = models
        self._discovery = blueprint.discovery()
        self._monitors: dict[str, Monitor] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._offered: tuple[object, ...] = ()
        self._is_running = False
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
        returns = asyncio.ensure_future(self._let_back())
        try:
            async for addresses in self._discovery.addresses():
                self._take(addresses)
            await asyncio.Event().wait()
        finally:
            self._is_running = False
            tasks = [returns, *self._tasks.values(), *self._leaving]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

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
        replica = Replica(channel, triton.model, blueprint.first_token_timeout_s)
        monitor = Monitor(
            blueprint.settings.id,
            self.replicas,
            replica,
            blueprint.served_with,
            blueprint.stall_timeout_s,
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

    async def _let_back(self) -> None:
        while True:
            await asyncio.sleep(RETURNS_LOOK_S)
            self.replicas.note_returns()

    def _offer(self) -> None:
        """Put into service what the replicas have in common now, if that is news."""
        replicas, blueprint = self.replicas, self.blueprint
        reason = replicas.reason
        if not any(one.contract for one in replicas.members):
            self._models.expect(blueprint.names, reason)
            return
        offer = (replicas.version, replicas.features, replicas.max_model_len)
        if reason or offer == self._offered:
            return
        self._offered = offer
        engine = engine_of(replicas, blueprint.served_with)
        for model in blueprint.models(engine):
            self._models.add(model)
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


async def start_keepers(models: Models, blueprints: Sequence[Blueprint]) -> list[Keeper]:
    """Put the models whose Triton answers into service; return the keepers of all.

    Raises ContractMismatch for a Triton that answers, but with a contract that cannot be used.
    """
    keepers = [Keeper(models, blueprint) for blueprint in blueprints]
    try:
        await asyncio.gather(*(keeper.start() for keeper in keepers))
    except BaseException:
        await asyncio.gather(*(keeper.close() for keeper in keepers))
        raise
    return keepers


async def run_keepers(keepers: Sequence[Keeper]) -> None:
    """Keep models in service until cancelled; answers that still run then go on."""
    await asyncio.gather(*(keeper.run() for keeper in keepers))


async def keep_models(models: Models, blueprints: Sequence[Blueprint]) -> None:
    """Put models into service as their Tritons answer, and keep them there until cancelled."""
    await run_keepers([Keeper(models, blueprint) for blueprint in blueprints])
