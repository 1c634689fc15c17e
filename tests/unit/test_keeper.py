"""What a keeper does for a model, and how it tells what it waits for."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.blueprints import load_blueprint
from gateway.errors import EngineUnavailable
from gateway.generation import Delta, Generation, Prompt
from gateway.keeper import Keeper
from gateway.keepers import Keepers
from gateway.models import Models
from gateway.settings import ModelSettings, Settings, TritonSettings
from gateway.triton import discovery
from gateway.triton.contract import ContractMismatch
from gateway.triton.reminder import LONGEST_REMINDER_S, Reminder
from gateway.triton.view import state_of
from tests.fakes import tiny_tokenizer
from tests.tritons import Outcome, ScriptedTriton, standing

REFUSED, NOT_READY = "Triton cannot be reached.", "Triton says that its model is not ready."
ASKED = Generation(Prompt((1, 2), "ab"), max_tokens=2)


@pytest.fixture
async def triton() -> AsyncIterator[ScriptedTriton]:
    triton = ScriptedTriton()
    async with standing(triton):
        yield triton


async def started(models: Models, **triton: object) -> Keepers:
    settings = ModelSettings(
        id="m", tokenizer=tiny_tokenizer(), triton=TritonSettings.model_validate(triton)
    )
    keepers = Keepers(models)
    await keepers.start([load_blueprint(settings, Settings())])
    return keepers


@asynccontextmanager
async def kept(models: Models, **triton: object) -> AsyncIterator[Keeper]:
    """Keep a model while the block lasts."""
    keepers = await started(models, **triton)
    keeping = asyncio.ensure_future(keepers.run())
    try:
        yield keepers.all[0]
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await keepers.close()


async def test_answers_outlive_the_keeper_while_the_gateway_drains(triton: ScriptedTriton) -> None:
    triton.outcomes = [Outcome(pauses_after=1)]
    models = Models()
    keepers = await started(models, address=triton.address)
    keeping = asyncio.ensure_future(keepers.run())
    items = models.find("m").engine.generate(ASKED)
    assert await anext(items) == Delta(0, [3])

    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    triton.goes_on.set()

    assert await anext(items) == Delta(0, [6])
    await items.aclose()
    await keepers.close()


async def test_answers_go_on_by_the_contract_they_began_with(triton: ScriptedTriton) -> None:
    triton.outcomes = [Outcome(pauses_after=1)]
    models = Models()
    keepers = await started(models, address=triton.address)
    before = models.find("m").engine
    items = before.generate(ASKED)
    await anext(items)
    triton.max_seq_len = "64"

    keeping = asyncio.ensure_future(keepers.run())  # a connection was made: so it reads again
    for _ in range(1000):
        if models.find("m").max_model_len == 64:
            break
        await asyncio.sleep(0.01)
    triton.goes_on.set()

    assert (before.max_model_len, models.find("m").max_model_len) == (2048, 64)
    assert await anext(items) == Delta(0, [6])
    await items.aclose()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await keepers.close()


async def test_a_contract_that_does_not_fit_is_refused_at_start(triton: ScriptedTriton) -> None:
    triton.inputs.remove("streaming")
    models = Models()

    with pytest.raises(ContractMismatch, match="'streaming'"):
        await started(models, address=triton.address)

    with pytest.raises(EngineUnavailable):
        models.find("m")


async def test_a_replica_that_does_not_fit_is_refused_by_name_and_the_others_serve() -> None:
    good, bad, short = ScriptedTriton(), ScriptedTriton(), ScriptedTriton(max_seq_len="64")
    bad.inputs.remove("streaming")
    models = Models()

    async with standing(good, bad, short):
        addresses = [one.address for one in (bad, good, short)]
        async with kept(models, addresses=addresses, policy="round_robin") as keeper:
            for _ in range(4):
                assert [item async for item in models.find("m").engine.generate(ASKED)]
            refused, *serving = keeper.replicas.members

    assert [len(one.asked) for one in (bad, good, short)] == [0, 2, 2]
    assert models.find("m").max_model_len == 64
    assert "'streaming'" in refused.reason
    assert [state_of(one) for one in serving] == ["serving", "serving"]


async def test_replicas_come_and_go_with_the_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery.Filed, "every_s", 0.01)
    first, second = ScriptedTriton([Outcome(pauses_after=1)]), ScriptedTriton()
    models, file = Models(), tmp_path / "replicas"

    async with standing(first, second):
        file.write_text(first.address)
        async with kept(models, addresses_file=file):
            running = models.find("m").engine.generate(ASKED)
            assert await anext(running) == Delta(0, [3])

            file.write_text(second.address)
            await served_by(second, models)
            first.goes_on.set()

            assert await anext(running) == Delta(0, [6])
            await running.aclose()


async def served_by(triton: ScriptedTriton, models: Models) -> None:
    """Return once a generation went to this Triton."""
    while not triton.asked:
        try:
            async for _ in models.find("m").engine.generate(ASKED):
                pass
        except EngineUnavailable:
            await asyncio.sleep(0.01)


def said(reminder: Reminder, seconds: int) -> list[int]:
    """Return at which seconds it is said why nothing is served."""
    return [now for now in range(1, seconds + 1) if reminder.is_due(REFUSED, now)]


def test_a_reason_is_told_at_once_and_then_at_intervals_that_grow() -> None:
    assert said(Reminder(), 300) == [1, 6, 16, 36, 76, 136, 196, 256]


def test_a_reason_is_never_forgotten_for_longer_than_the_longest_interval() -> None:
    times = said(Reminder(), 3600)

    assert max(b - a for a, b in itertools.pairwise(times)) == LONGEST_REMINDER_S


def test_reasons_that_alternate_do_not_fill_the_log() -> None:
    reminder = Reminder()

    num_said = sum(
        reminder.is_due(NOT_READY if now % 2 else REFUSED, now) for now in range(1, 3601)
    )

    assert num_said < 70


def test_what_comes_after_it_served_is_news() -> None:
    reminder = Reminder()
    said(reminder, 100)

    reminder.forget()

    assert reminder.is_due(REFUSED, 101)
