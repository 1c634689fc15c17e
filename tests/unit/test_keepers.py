"""Models that come, go and change while answers run; what operators see and do meanwhile."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.access import Access
from gateway.blueprints import load_blueprint
from gateway.errors import EngineUnavailable, ModelNotFound
from gateway.generation import Delta, Generation, Prompt
from gateway.keepers import Changes, Keepers
from gateway.models import Models
from gateway.operators import admin_app
from gateway.reception import Reception
from gateway.reload import ModelsSource, Reload
from gateway.settings import Settings, SettingsError, load_models_file
from tests.fakes import tiny_tokenizer
from tests.tritons import Outcome, ScriptedTriton, standing

ASKED = Generation(Prompt((1, 2), "ab"), max_tokens=2)
UNKNOWN = "127.0.0.1:1"


@dataclass
class House:
    """Models as a file names them, served from Tritons that a test scripts."""

    file: Path
    models: Models
    keepers: Keepers
    reload: Reload

    def write(self, **models: Any) -> None:
        """Name models by id in the file, each with its `triton` or more."""
        self.file.write_text(yaml.safe_dump({"models": entries(models)}))

    async def change(self, **models: Any) -> Changes:
        self.write(**models)
        return await self.reload.run()

    async def served(self, id: str, triton: ScriptedTriton) -> None:
        """Return once a generation of a model went to this Triton."""
        while not triton.asked:
            try:
                async for _ in self.models.find(id).engine.generate(ASKED):
                    pass
            except EngineUnavailable:
                await asyncio.sleep(0.01)


def entries(models: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"id": id, "tokenizer": str(tiny_tokenizer()), **fields} for id, fields in models.items()
    ]


def at(*tritons: ScriptedTriton, **fields: Any) -> dict[str, Any]:
    return {"triton": {"addresses": [triton.address for triton in tritons]}, **fields}


@asynccontextmanager
async def housed(folder: Path, **models: Any) -> AsyncIterator[House]:
    file, served = folder / "models.yaml", Models()
    file.write_text(yaml.safe_dump({"models": entries(models)}))
    keepers, source = Keepers(served), ModelsSource(file)
    loaded = load_models_file(file).models
    await keepers.start([load_blueprint(one, Settings()) for one in loaded])
    keeping = asyncio.ensure_future(keepers.run())
    try:
        yield House(file, served, keepers, Reload(source, Settings(), keepers))
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await keepers.close()


async def test_models_come_and_go_and_what_they_answer_is_answered(tmp_path: Path) -> None:
    first, second = ScriptedTriton([Outcome(pauses_after=1)]), ScriptedTriton()

    async with standing(first, second), housed(tmp_path, a=at(first)) as house:
        running = house.models.find("a").engine.generate(ASKED)
        assert await anext(running) == Delta(0, [3])

        changes = await house.change(b=at(second))
        await asyncio.wait_for(house_serves(house, "b"), 10)
        await house.served("b", second)
        first.goes_on.set()

        assert changes == Changes(added=("b",), removed=("a",))
        assert await anext(running) == Delta(0, [6])
        await running.aclose()
        with pytest.raises(ModelNotFound):
            house.models.find("a")


async def house_serves(house: House, id: str) -> None:
    while True:
        try:
            house.models.find(id)
            return
        except EngineUnavailable:
            await asyncio.sleep(0.01)


async def test_a_model_whose_replicas_move_keeps_those_that_stay(tmp_path: Path) -> None:
    first, second = ScriptedTriton(), ScriptedTriton()

    async with standing(first, second), housed(tmp_path, a=at(first)) as house:
        [keeper] = house.keepers.all
        [stays] = keeper.replicas.members

        changes = await house.change(a=at(first, second))
        await house.served("a", second)

        assert changes == Changes(changed=("a",))
        assert house.keepers.all == (keeper,)
        assert keeper.replicas.members[0] is stays


async def test_a_model_that_changed_serves_as_it_was_until_it_can_as_it_is_to_be(
    tmp_path: Path,
) -> None:
    first, second = ScriptedTriton(), ScriptedTriton()

    async with standing(first, second), housed(tmp_path, a=at(first)) as house:
        changed = at(second, max_model_len=100, aliases=["also"])
        changed["triton"]["addresses"] = [UNKNOWN]
        await house.change(a=changed)
        assert house.models.find("a").max_model_len == 2048

        changed["triton"]["addresses"] = [second.address]
        await house.change(a=changed)
        await house.served("a", second)

        assert house.models.find("also").max_model_len == 100


async def test_names_move_between_models(tmp_path: Path) -> None:
    triton = ScriptedTriton()
    before = {"a": at(triton), "b": at(triton)}

    async with standing(triton):
        before = {"a": at(triton, aliases=["x"]), "b": at(triton)}
        async with housed(tmp_path, **before) as house:
            await house.change(a=at(triton), b=at(triton, aliases=["x"]))
            await asyncio.wait_for(found_as(house, "x", "b"), 10)

            assert house.models.find("a").id == "a"


async def found_as(house: House, name: str, id: str) -> None:
    while True:
        try:
            if house.models.find(name).id == id:
                return
        except (EngineUnavailable, ModelNotFound):
            pass
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("models: [", "models.yaml"),
        ("models: []", "at least 1"),
        ("models: [{id: a, tokenizer: nowhere}]", "nowhere"),
        (None, "No such file"),
    ],
    ids=["no YAML", "no model", "no tokenizer", "no file"],
)
async def test_a_bad_file_changes_nothing_and_says_why(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    triton = ScriptedTriton()
    async with standing(triton), housed(tmp_path, a=at(triton)) as house:
        house.file.unlink()
        if content is not None:
            house.file.write_text(content)

        with pytest.raises(SettingsError, match=problem):
            await house.reload.run()

        assert house.models.find("a").id == "a"
        assert len(house.keepers.all) == 1


async def test_nothing_is_loaded_again_for_what_did_not_change(tmp_path: Path) -> None:
    triton = ScriptedTriton()
    async with standing(triton), housed(tmp_path, a=at(triton)) as house:
        before = house.models.find("a")

        assert await house.reload.run() == Changes()
        assert house.models.find("a") is before


def test_a_file_that_was_written_again_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models: [{id: a, tokenizer: t}]")
    source = ModelsSource(file)
    assert not source.has_changed

    os.utime(file, (time.time(), 10))

    assert source.has_changed
    source.read()
    assert not source.has_changed


async def test_without_a_file_there_is_nothing_to_read_again() -> None:
    with pytest.raises(SettingsError, match="--models"):
        await Reload(ModelsSource(None), Settings(), Keepers(Models())).run()


@asynccontextmanager
async def administered(house: House) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings()
    reception = Reception(Access(settings))
    app = admin_app(settings, reception, house.keepers, house.reload, worker=1)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/admin") as http:
        yield http


async def test_operators_see_replicas_and_drain_them(tmp_path: Path) -> None:
    tritons = ScriptedTriton(), ScriptedTriton()
    async with (
        standing(*tritons),
        housed(tmp_path, a=at(*tritons)) as house,
        administered(house) as http,
    ):
        drained = await http.post("/drain", json={"address": tritons[0].address})
        for _ in range(3):
            async for _ in house.models.find("a").engine.generate(ASKED):
                pass
        told = (await http.get("/replicas")).json()
        await http.post("/undrain", json={"address": tritons[0].address, "model": "a"})
        after = (await http.get("/replicas")).json()

    assert drained.json() == {"models": ["a"]}
    assert [len(triton.asked) for triton in tritons] == [0, 3]
    [model] = told["models"]
    assert (model["id"], model["policy"], model["max_model_len"]) == ("a", "least_work", 2048)
    assert [one["state"] for one in model["replicas"]] == ["drained", "serving"]
    assert [one["state"] for one in after["models"][0]["replicas"]] == ["serving", "serving"]


async def test_operators_are_told_what_they_got_wrong(tmp_path: Path) -> None:
    triton = ScriptedTriton()
    async with standing(triton), housed(tmp_path, a=at(triton)) as house:
        house.file.write_text("models: []")
        async with administered(house) as http:
            missing = await http.post("/drain", json={"address": "10.0.0.1:1"})
            nothing = await http.post("/drain", json={})
            bad_file = await http.post("/reload")
            foreign = await http.get("/replicas", headers={"Origin": "https://evil.example"})

    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "address")
    assert (nothing.status_code, nothing.json()["error"]["param"]) == (400, "address")
    assert bad_file.status_code == 400
    assert "Nothing was changed" in bad_file.json()["error"]["message"]
    assert foreign.status_code == 403
