"""Usage in a real PostgreSQL, from gateways of which one is killed: every row, once."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.settings import Settings
from gateway.stores import usage_folder, usage_store
from gateway.traffic.usage import Row
from gateway.traffic.usage_store import UsageError, carry
from gateway.usage_report import Query, report
from tests.conftest import Figure
from tests.keys import add_key, bearer
from tests.postgres import postgres, postgres_folder
from tests.serving import gateway_process

EVER = Query(("tenant", "key", "model"), 0, 2**33)
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
REQUESTS, AT_ONCE = 120, 16


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    if postgres_folder() is None:
        pytest.skip("there is no PostgreSQL here")
    with postgres() as url:
        yield url


def rows(number: int) -> list[Row]:
    return [
        Row("r", time.time(), f"key-{n % 7}", "team", "tiny", 10, 4, 5, 0.5, "stop")
        for n in range(number)
    ]


async def test_rows_are_kept_once_and_added_up_in_postgresql(
    database: str, tmp_path: Path, figure: Figure
) -> None:
    settings = Settings(usage=database, state_dir=tmp_path)
    some = rows(5000)
    stores = [usage_store(settings) for _ in range(3)]
    began = time.perf_counter()

    await asyncio.gather(*(store.add(some) for store in stores))  # all make the table, too
    took_s = time.perf_counter() - began
    told = await report(stores[0], EVER, {})
    for store in stores:
        await store.close()

    figure(f"usage: 3 x 5,000 rows, the same, to PostgreSQL in {took_s:.2f} s")
    assert sum(one["requests"] for one in told) == 5000
    assert sum(one["prompt_tokens"] for one in told) == 50_000


async def test_a_database_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://gateway:canary-password@127.0.0.1:9/none"
    store = usage_store(Settings(usage=url, state_dir=tmp_path))

    with pytest.raises(UsageError) as caught:
        await store.add(rows(1))
    await store.close()

    assert "canary-password" not in str(caught.value) + repr(store) + repr(Settings(usage=url))


async def test_no_answer_that_ended_is_missing_though_its_gateway_was_killed(
    tmp_path: Path, figure: Figure
) -> None:
    keys = tmp_path / "keys.yaml"
    key = add_key(keys, tenant="team-a", admin=True)
    environment = {"GATEWAY_KEYS_FILE": str(keys), "GATEWAY_STATE_DIR": str(tmp_path)}
    told = [0, 0, 0]

    async def ask(http: httpx.AsyncClient, number: int, turn: asyncio.Semaphore) -> None:
        async with turn:
            try:
                response = await http.post("/v1/chat/completions", json=HELLO)
            except httpx.HTTPError:
                return
        usage = response.json()["usage"]
        told[0] += 1
        told[1] += usage["prompt_tokens"]
        told[2] += usage["completion_tokens"]
        if number == REQUESTS // 2:
            os.kill(doomed.process.pid, signal.SIGKILL)

    with (
        (tmp_path / "log").open("wb") as log,
        gateway_process(stderr=log, **environment) as doomed,
        gateway_process(stderr=log, **environment) as lasting,
    ):
        for one in (doomed, lasting):
            async with httpx.AsyncClient(base_url=one.url, headers=bearer(key)) as http:
                turn = asyncio.Semaphore(AT_ONCE)
                await asyncio.gather(*(ask(http, number, turn) for number in range(REQUESTS)))
                if one is lasting:
                    shown = (await http.get("/metrics")).text
        shown += _command_line(lasting.process.pid)
        lasting.process.terminate()
        lasting.process.wait(20)
    settings = Settings(state_dir=tmp_path)
    waiting = _journals(tmp_path)
    store = usage_store(settings)
    await carry(usage_folder(settings), store)
    [kept] = await report(store, EVER, {})
    await store.close()

    secret = key.split("-", 3)[3]
    kept_bytes = _all_bytes(tmp_path)
    assert b"request_id" in kept_bytes  # the log is among them
    assert secret.encode() not in kept_bytes
    assert secret not in shown
    figure(
        f"usage: {told[0]} answers of two gateways, one killed; rows {kept['requests']}, tokens "
        f"told {told[1]} + {told[2]}, kept {kept['prompt_tokens']} + {kept['completion_tokens']}"
    )
    unseen = kept["requests"] - told[0]  # written, but the kill came before they were read
    writers = {path.name.split("-")[0] for path in waiting}
    assert writers == {str(doomed.process.pid)}  # the other has taken its own along
    assert 0 <= unseen <= AT_ONCE
    assert kept["prompt_tokens"] * told[0] == told[1] * kept["requests"]
    assert kept["completion_tokens"] * told[0] == told[2] * kept["requests"]


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def _journals(folder: Path) -> list[Path]:
    return list(folder.glob("usage/*.journal"))


def _all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
