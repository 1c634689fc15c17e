"""Usage: each request once, to the token, whatever becomes of it and of the process."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.app import create_app
from gateway.cli import app as command
from gateway.errors import EngineFailure
from gateway.models import Models
from gateway.openai.application import Application
from gateway.settings import ModelSettings, PriceSettings, Settings
from gateway.traffic.usage import Journal, Row, UsageLog, left_behind, rows_of
from gateway.traffic.usage_store import Price, UsageStore, carry
from gateway.usage_report import Query, QueryError, as_csv, report
from tests.fakes import FakeEngine, length, stop, text, tiny_model, tiny_tokenizer
from tests.keys import add_key, bearer, keyed
from tests.wire import CheckedTransport, events

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
EVER = Query(("model", "finish_reason"), 0, 2**33)


def row(**fields: Any) -> Row:
    given = {
        "request_id": "r",
        "at": time.time(),
        "key": "alice",
        "tenant": "team-a",
        "model": "tiny",
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "completion_tokens": 5,
        "seconds": 0.5,
        "finish_reason": "stop",
    }
    return Row(**{**given, **fields})


@asynccontextmanager
async def store_in(folder: Path) -> AsyncIterator[UsageStore]:
    store = UsageStore(f"sqlite+aiosqlite:///{folder / 'usage.sqlite'}")
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def served(settings: Settings, script: Any) -> AsyncIterator[tuple[Application, FakeEngine]]:
    """Serve with a journal that nobody takes along meanwhile."""
    engine = FakeEngine(script)
    app = create_app(settings, Models([tiny_model(engine)]))
    log = app.reception.usage = UsageLog(settings.state_dir / "usage")
    try:
        yield app, engine
    finally:
        log.journal.close()


def client(app: Application, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=CheckedTransport(app), base_url="http://gateway", headers=bearer(key)
    )


def noted(folder: Path) -> list[Row]:
    return [one for path in folder.glob("usage/*.journal") for one in rows_of(path)]


@pytest.mark.parametrize(
    ("path", "body", "script", "ending"),
    [
        pytest.param(CHAT, HELLO, [text("Hello"), stop(cached_tokens=3)], "stop", id="chat"),
        pytest.param(CHAT, HELLO | {"stream": True}, [text("Hi"), length()], "length", id="stream"),
        pytest.param(
            COMPLETIONS,
            {"model": "tiny", "prompt": ["One", "Two"], "max_tokens": 5},
            [text("Hello"), stop()],
            "stop",
            id="prompts",
        ),
        pytest.param(
            CHAT, HELLO | {"stop": ["l"]}, [text("Hello"), stop()], "stop", id="stop-string"
        ),
    ],
)
async def test_a_row_says_what_the_answer_says(
    path: str, body: dict[str, Any], script: Any, ending: str, tmp_path: Path
) -> None:
    key = add_key(tmp_path / "keys.yaml", tenant="team-a")
    settings = keyed(tmp_path / "keys.yaml", state_dir=tmp_path)
    body = body | {"stream_options": {"include_usage": True}} if body.get("stream") else body
    async with served(settings, script) as (app, _), client(app, key) as http:
        response = await http.post(path, json=body, headers={"x-request-id": "mine"})
        [one] = noted(tmp_path)

    usage = events(response)[-2]["usage"] if body.get("stream") else response.json()["usage"]
    assert one.prompt_tokens == usage["prompt_tokens"]
    assert one.completion_tokens == usage["completion_tokens"]
    assert one.cached_tokens == usage["prompt_tokens_details"]["cached_tokens"]
    assert (one.key, one.tenant, one.model) == ("alice", "team-a", "tiny")
    assert (one.request_id, one.finish_reason) == ("mine", ending)


async def test_a_row_is_there_before_the_last_frame(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.yaml")
    settings = keyed(tmp_path / "keys.yaml", state_dir=tmp_path)
    seen: list[tuple[bytes, int]] = []

    async with served(settings, [text("Hi"), stop()]) as (app, _):

        async def spy(scope: Any, receive: Any, send: Any) -> None:
            async def look(message: Any) -> None:
                seen.append((message.get("body", b""), len(noted(tmp_path))))
                await send(message)

            await app(scope, receive, look)

        transport = httpx.ASGITransport(spy)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            await http.post(CHAT, json=HELLO | {"stream": True}, headers=bearer(key))

    [last] = [rows for body, rows in seen if body.endswith(b"[DONE]\n\n")]
    assert last == 1


async def test_answers_that_fail_or_are_left_are_noted_as_far_as_they_came(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.yaml")
    settings = keyed(tmp_path / "keys.yaml", state_dir=tmp_path)
    script = [text("Hello"), EngineFailure("It broke.")]
    async with served(settings, script) as (app, engine), client(app, key) as http:
        await http.post(CHAT, json=HELLO | {"stream": True})
        engine.script, engine.hangs = [text("Hel")], True
        left = asyncio.ensure_future(http.post(CHAT, json=HELLO))
        while len(engine.requests) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        engine.script, engine.hangs = [EngineFailure("It broke at once.")], False
        await http.post(CHAT, json=HELLO)
        await http.post(CHAT, json=HELLO | {"model": "absent"})
        rows = {one.finish_reason: one.completion_tokens for one in noted(tmp_path)}

    assert rows == {"engine_failure": 5, "cancelled": 3}


async def test_rows_are_kept_once_and_added_up(tmp_path: Path) -> None:
    rows = [row(), row(), row(model="other", finish_reason="length")]
    async with store_in(tmp_path) as store:
        await store.add(rows)
        await store.add(rows)
        told = await report(store, EVER, {"tiny": Price(1.0, 2.0, 0.5)})

    assert [one["requests"] for one in told] == [1, 2]
    assert told[1]["prompt_tokens"] == 20
    assert told[1]["cost"] == pytest.approx(2 * (6 * 1.0 + 4 * 0.5 + 5 * 2.0) / 1e6)
    assert told[0]["cost"] is None


async def test_what_a_killed_process_noted_is_kept_and_what_a_living_one_writes_left_alone(
    tmp_path: Path,
) -> None:
    dead, alive = Journal(tmp_path), Journal(tmp_path)
    dead.write(row())
    alive.write(row())
    with dead.path.open("ab") as torn:
        torn.write(b'{"id": "half a ro')
    dead.close()  # as the kernel does for a process that is killed
    async with store_in(tmp_path) as store:
        await carry(tmp_path, store)
        told = await report(store, EVER, {})

    assert [one["requests"] for one in told] == [1]
    assert not dead.path.exists()
    assert rows_of(alive.path)
    assert list(left_behind(tmp_path)) == []
    alive.close()


def test_a_row_after_a_torn_one_can_be_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(row(request_id="first"))
    with journal.path.open("ab") as torn:
        torn.write(b'{"id": "half')
    journal._is_torn = True

    journal.write(row(request_id="last"))

    assert [one.request_id for one in rows_of(journal.path)] == ["first", "last"]
    journal.close()


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_admins_read_usage_over_http(form: str, tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    key, admin = add_key(path, tenant="=team"), add_key(path, "root", admin=True)
    settings = keyed(path, state_dir=tmp_path)
    model = ModelSettings(
        id="tiny", tokenizer=tiny_tokenizer(), price=PriceSettings(input=1, output=2, cached=0.5)
    )
    app = create_app(settings, Models([tiny_model(FakeEngine([text("Hello"), stop()]))]))
    async with app.reception.open(settings, [model]):
        async with client(app, key) as http:
            await http.post(CHAT, json=HELLO)
            refused = await http.get("/admin/usage")
        async with client(app, admin) as http:
            asked = {"by": "tenant", "format": form}
            told = await http.get("/admin/usage", params=asked)
            while "=team" not in told.text:  # the row is on its way
                told = await http.get("/admin/usage", params=asked)
            wrong = await http.get("/admin/usage", params={"by": "prompt"})

    assert [refused.status_code, wrong.status_code] == [403, 400]
    if form == "json":
        [one] = told.json()["data"]
        assert (one["tenant"], one["completion_tokens"]) == ("=team", 5)
        assert one["cost"] > 0
    else:
        assert told.text.startswith("tenant,requests,")
        assert "'=team,1," in told.text


def test_the_command_line_tells_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    journal = Journal(tmp_path / "usage")
    journal.write(row())
    journal.close()

    told = CliRunner().invoke(command, ["usage", "--format", "json", "--by", "key"])
    table = CliRunner().invoke(command, ["usage"])
    wrong = CliRunner().invoke(command, ["usage", "--since", "soon"])

    assert json.loads(told.output)[0]["prompt_tokens"] == 10
    assert "team-a" in table.output
    assert wrong.exit_code == 1
    assert "no time" in wrong.output


@pytest.mark.parametrize("given", [("day,x", ""), ("", "yesterday")], ids=["column", "time"])
def test_a_query_that_is_none_is_told(given: tuple[str, str]) -> None:
    with pytest.raises(QueryError):
        Query.of(*given)


def test_csv_has_a_line_of_names_even_without_rows() -> None:
    assert as_csv([], ["key"]).startswith("key,requests,")
