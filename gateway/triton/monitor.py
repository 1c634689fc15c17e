"""Looks after one replica: its Triton probed anew whenever it comes back, watched meanwhile."""

import asyncio
import time
from contextlib import aclosing, suppress

import structlog

from gateway.engine import Engine
from gateway.errors import ClientError, EngineError, EngineTimeout, EngineUnavailable, Overloaded
from gateway.generation import Generation, Prompt
from gateway.triton.checkup import Canary, Checkup
from gateway.triton.contract import ContractMismatch
from gateway.triton.deployment import (
    Deployment,
    ServedWith,
    contract_of,
    engine_of,
    read_deployment,
    version_of,
)
from gateway.triton.gauges import Iterations, ask_gauges
from gateway.triton.reminder import Reminder
from gateway.triton.replica import Readiness, Replica
from gateway.triton.replicas import Replicas

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""Seconds between two looks at a Triton that serves."""
RETRY_S = 0.5
"""Seconds between two looks at one that does not."""
READ_AGAIN_S = 10.0
"""Seconds after which a contract is read again, though nothing happened: addresses can move."""
CANARY_TIMEOUT_S = 3.0


class Monitor:
    """Looks after one of the replicas of a model: whether it can serve, and by which contract.

    Whatever interrupts it (a lost connection, a model that is not ready, silence) ends with its
    contract read anew: what comes back may be another engine. Generations that run go on by the
    contract they began with. `model` is what its log lines call the model.
    """

    def __init__(
        self,
        model: str,
        replicas: Replicas,
        replica: Replica,
        served_with: ServedWith,
        stall_timeout_s: float,
        metrics_port: int | None = None,
    ) -> None:
        self.replica = replica
        self.refusal = ""
        self._model = model
        self._replicas = replicas
        self._served_with = served_with
        self._stall_timeout_s = stall_timeout_s
        self._apart = Replica(replica.channel, replica.model)
        self._canary: Engine | None = None
        self._checkup = Checkup(stall_timeout_s, time.monotonic())
        self._deployment: Deployment | None = None
        self._read_at = 0.0
        self._num_connected = 0
        self._reminder = Reminder()
        self._metrics_port = metrics_port
        self._iterations = Iterations()
        replica.retire("Its Triton has not been probed yet.")

    async def start(self) -> None:
        """Put the replica into service if its Triton answers.

        Raises ContractMismatch where it answers, but not with a contract that can be used.
        """
        with suppress(EngineUnavailable):
            await self._read_contract()

    async def run(self) -> None:
        """Keep the replica in service; returns only when cancelled."""
        trouble = self.replica.trouble
        while True:
            has_trouble = trouble.is_set()
            trouble.clear()
            if await self._try_look(has_trouble):
                await _wait(trouble, LOOK_S)
            else:
                await asyncio.sleep(RETRY_S)

    async def _try_look(self, has_trouble: bool) -> bool:
        try:
            return await self._look(has_trouble)
        except Exception:  # a bug; but one that must not leave a replica without its monitor
            log.exception("look_failed", model=self._model)
            return False

    async def _look(self, has_trouble: bool) -> bool:
        """Look at the Triton, and act; tell whether all was well."""
        replica = self.replica
        readiness = await replica.readiness()
        is_stuck = await self._look_at_gauges()
        progress, now = replica.look(), time.monotonic()
        self._checkup.note(
            now,
            progress,
            readiness,
            has_trouble=has_trouble,
            has_others=self._replicas.has_others(replica),
            is_stuck=is_stuck,
        )
        if self._canary and self._checkup.wants_canary(now):
            outcome = await ask(self._canary, self._served_with)
            self._checkup.note_canary(time.monotonic(), outcome)
        verdict = self._checkup.verdict
        if verdict.reason:
            self.retire(verdict.reason)
            if verdict.is_lost or verdict.is_hung:
                replica.fail_open(verdict.reason, only_waiting=verdict.is_hung)
            return False
        is_ready = readiness is Readiness.READY
        if is_ready and self._is_to_be_read(now):
            await self._try_contract()
        elif is_ready:
            replica.doubt(is_suspect=False)
        return is_ready

    async def _look_at_gauges(self) -> bool:
        """Note how full the KV cache is; tell whether the engine stands still by its own count."""
        if not self._metrics_port:
            return False
        replica = self.replica
        try:
            gauges = await ask_gauges(replica.channel.address, self._metrics_port, replica.model)
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            log.debug("no_metrics", triton=replica.channel.address, problem=repr(error))
            return False
        replica.load.kv = gauges.kv
        replica.load.weigh()
        return self._iterations.is_stuck(gauges, time.monotonic())

    def _is_to_be_read(self, now: float) -> bool:
        has_moved = self._num_connected != self.replica.channel.num_connected
        return bool(self.replica.reason) or has_moved or now - self._read_at >= READ_AGAIN_S

    async def _try_contract(self) -> None:
        try:
            await self._read_contract()
        except ContractMismatch as error:
            self.retire(str(error))
        except EngineUnavailable:
            self.retire(Readiness.UNREACHABLE.value)

    async def _read_contract(self) -> None:
        channel = self.replica.channel
        num_connected = channel.num_connected
        deployment = await read_deployment(channel, self.replica.model)
        if self.replica.reason or deployment != self._deployment:
            self._serve(deployment)
        self.replica.doubt(is_suspect=False)
        self._read_at, self._num_connected = time.monotonic(), num_connected

    def _serve(self, deployment: Deployment) -> None:
        """Put the replica into service as it was probed. Raises ContractMismatch."""
        contract = contract_of(deployment, self._served_with)
        version = version_of(deployment, contract)
        self._replicas.admit(self.replica, contract, version)
        log.info("replica_ready", model=self._model, triton=self.replica.channel.address)
        self._deployment = deployment
        apart = Replicas(members=[self._apart])
        apart.admit(self._apart, contract, version)
        self._canary = engine_of(apart, self._served_with)
        self._checkup = Checkup(self._stall_timeout_s, time.monotonic())
        self._reminder.forget()

    def retire(self, reason: str) -> None:
        """Take the replica out of service, and say so now and then."""
        replica = self.replica
        was = replica.reason
        replica.retire(reason)
        if was != reason:
            self._replicas.on_change()
        if self._reminder.is_due(reason, time.monotonic()):
            log.warning(
                "waiting_for_model",
                model=self._model,
                reason=reason,
                triton=replica.channel.address,
                triton_model=replica.model,
                detail=replica.detail,
                hint=HINTS.get(reason, "the replica serves again once that is mended"),
            )


HINTS = {
    Readiness.UNREACHABLE.value: "start it, or mend the address in the models file or --triton",
    Readiness.NOT_READY.value: "look at its log, and whether its repository has that model",
    Readiness.SILENT.value: "it listens but stands still: look at its process and its log",
}


async def ask(engine: Engine, served_with: ServedWith) -> Canary:
    """Ask an engine for one token, and return what that came to within three seconds."""
    token_ids = served_with.codec.encode("a")
    generation = Generation(Prompt(tuple(token_ids), "a"), max_tokens=1)
    try:
        await asyncio.wait_for(_first_item(engine, generation), CANARY_TIMEOUT_S)
    except (Overloaded, ClientError):
        return Canary.ANSWERED
    except (asyncio.TimeoutError, EngineTimeout):
        return Canary.SILENT
    except EngineUnavailable:
        return Canary.UNSERVED
    except EngineError:
        return Canary.BROKEN
    return Canary.ANSWERED


async def _first_item(engine: Engine, generation: Generation) -> None:
    async with aclosing(engine.generate(generation)) as items:
        await anext(items)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
