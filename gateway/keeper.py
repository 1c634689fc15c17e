"""Keeps a model in service: its Triton probed anew whenever it comes back, watched meanwhile."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress

import structlog

from gateway.blueprints import Blueprint
from gateway.engine import Engine
from gateway.errors import ClientError, EngineError, EngineTimeout, EngineUnavailable, Overloaded
from gateway.generation import Generation, Prompt
from gateway.models import Models
from gateway.triton.checkup import Canary, Checkup
from gateway.triton.contract import ContractMismatch
from gateway.triton.deployment import Deployment, engine_of, read_deployment
from gateway.triton.replica import Readiness, Replica

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""Seconds between two looks at a Triton that serves."""
RETRY_S = 0.5
"""Seconds between two looks at one that does not."""
READ_AGAIN_S = 10.0
"""Seconds after which a contract is read again, though nothing happened: addresses can move."""
CANARY_TIMEOUT_S = 3.0
FIRST_REMINDER_S = 5.0
LONGEST_REMINDER_S = 60.0


class Keeper:
    """Looks after one model's Triton, and puts the engine that it offers into service.

    Whatever interrupts it (a lost connection, a model that is not ready, silence) ends with its
    contract read anew: what comes back may be another engine. Generations that run go on with the
    engine they began with.
    """

    def __init__(self, models: Models, blueprint: Blueprint) -> None:
        self._models = models
        self._blueprint = blueprint
        channel, model = blueprint.channel(), blueprint.settings.triton.model
        self._replica = Replica(channel, model, blueprint.first_token_timeout_s)
        self._replica.retire("Its Triton has not been probed yet.")
        self._apart = Replica(channel, model)
        self._canary: Engine | None = None
        self._checkup = Checkup(blueprint.stall_timeout_s, time.monotonic())
        self._deployment: Deployment | None = None
        self._read_at = 0.0
        self._num_connected = 0
        self._reminder = Reminder()
        models.expect(blueprint.names, self._replica.reason)

    async def start(self) -> None:
        """Put the model into service if its Triton answers.

        Raises ContractMismatch where it answers, but not with a contract that can be used.
        """
        with suppress(EngineUnavailable):
            await self._read_contract()

    async def run(self) -> None:
        """Keep the model in service; returns only when cancelled."""
        trouble = self._replica.trouble
        while True:
            has_trouble = trouble.is_set()
            trouble.clear()
            if await self._try_look(has_trouble):
                await _wait(trouble, LOOK_S)
            else:
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Let go of the Triton; what runs on it is cancelled."""
        await self._replica.channel.close()

    async def _try_look(self, has_trouble: bool) -> bool:
        try:
            return await self._look(has_trouble)
        except Exception:  # a bug; but one that must not leave a model without its keeper
            log.exception("look_failed", model=self._blueprint.settings.id)
            return False

    async def _look(self, has_trouble: bool) -> bool:
        """Look at the Triton, and act; tell whether all was well."""
        readiness = await self._replica.readiness()
        progress, now = self._replica.look(), time.monotonic()
        self._checkup.note(now, progress, readiness, has_trouble=has_trouble)
        if self._canary and self._checkup.wants_canary(now):
            outcome = await ask(self._canary, self._blueprint)
            self._checkup.note_canary(time.monotonic(), outcome)
        verdict = self._checkup.verdict
        if verdict.reason:
            self._retire(verdict.reason)
            if verdict.is_lost:
                self._replica.fail_open(verdict.reason)
            return False
        if readiness is Readiness.READY and self._is_to_be_read(now):
            await self._try_contract()
        return readiness is Readiness.READY

    def _is_to_be_read(self, now: float) -> bool:
        has_moved = self._num_connected != self._replica.channel.num_connected
        return bool(self._replica.reason) or has_moved or now - self._read_at >= READ_AGAIN_S

    async def _try_contract(self) -> None:
        try:
            await self._read_contract()
        except ContractMismatch as error:
            self._retire(str(error))
        except EngineUnavailable:
            self._retire(Readiness.UNREACHABLE.value)

    async def _read_contract(self) -> None:
        channel = self._replica.channel
        num_connected = channel.num_connected
        deployment = await read_deployment(channel, self._replica.model)
        if self._replica.reason or deployment != self._deployment:
            self._serve(deployment)
        self._read_at, self._num_connected = time.monotonic(), num_connected

    def _serve(self, deployment: Deployment) -> None:
        """Put the engine of a deployment into service. Raises ContractMismatch."""
        blueprint = self._blueprint
        engine = engine_of(self._replica, deployment, blueprint.served_with)
        self._canary = engine_of(self._apart, deployment, blueprint.served_with)
        self._deployment = deployment
        self._checkup = Checkup(blueprint.stall_timeout_s, time.monotonic())
        self._replica.restore()
        for model in blueprint.models(engine):
            self._models.add(model)
        self._reminder.forget()
        log.info("model_ready", model=blueprint.settings.id, max_model_len=engine.max_model_len)

    def _retire(self, reason: str) -> None:
        replica = self._replica
        replica.retire(reason)
        if not self._deployment:
            self._models.expect(self._blueprint.names, reason)
        if self._reminder.is_due(reason, time.monotonic()):
            log.warning(
                "waiting_for_model",
                model=self._blueprint.settings.id,
                reason=reason,
                triton=replica.channel.address,
                triton_model=replica.model,
                detail=replica.detail,
            )


class Reminder:
    """Decides when to say again why something does not serve: first at once, then less often."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._pause_s = FIRST_REMINDER_S
        self._due_at = 0.0

    def is_due(self, reason: str, now: float) -> bool:
        """Tell whether to say it: it is news, or was not said for a while that grows."""
        is_news = reason not in self._told
        if not is_news and now < self._due_at:
            return False
        if not is_news:
            self._pause_s = min(2 * self._pause_s, LONGEST_REMINDER_S)
        self._told.add(reason)
        self._due_at = now + self._pause_s
        return True

    def forget(self) -> None:
        """Take the next reason for news."""
        self._told.clear()
        self._pause_s = FIRST_REMINDER_S


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


async def ask(engine: Engine, blueprint: Blueprint) -> Canary:
    """Ask an engine for one token, and return what that came to within three seconds."""
    token_ids = blueprint.tokenizer.encode("a")
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
