"""Limits as callers meet them: statuses, headers, what a cut answer costs them."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from gateway.app import create_app
from gateway.client import AsyncClient, CallFailed
from gateway.models import Models
from gateway.openai.application import Application
from gateway.reception import Reception
from gateway.rpc.server import RpcServer
from gateway.server import free_port
from gateway.settings import Settings
from gateway.traffic.caller import NO_LIMITS, Caller, Limits
from gateway.traffic.counts import LocalCounts
from gateway.traffic.desk import Desk, LimitReached, duration
from tests.fakes import FakeEngine, stop, text, tiny_model
from tests.keys import add_key, bearer, keyed
from tests.rpc import chat_request
from tests.wire import CheckedTransport

CHAT = "/v1/chat/completions"
HELLO = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 10,
}
PROMPT_TOKENS = 21
USED = PROMPT_TOKENS + 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def gateway(settings: Settings) -> Application:
    return create_app(settings, Models([tiny_model(FakeEngine([text("Hello"), stop()]))]))


def client(app: Application, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=CheckedTransport(app), base_url="http://gateway", headers=bearer(key)
    )


async def test_the_request_after_the_last_is_refused_with_when_to_come_back(path: Path) -> None:
    key = add_key(path, limits={"requests_per_minute": 2})
    async with client(gateway(keyed(path)), key) as http:
        answers = [await http.post(CHAT, json=HELLO) for _ in range(3)]

    assert [one.status_code for one in answers] == [200, 200, 429]
    left = [one.headers["x-ratelimit-remaining-requests"] for one in answers]
    assert left == ["1", "0", "0"]
    refused = answers[2]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["x-should-retry"] == "true"
    assert 59 <= int(refused.headers["retry-after"]) <= 61
    assert 59_000 <= int(refused.headers["retry-after-ms"]) <= 61_000
    assert refused.headers["x-ratelimit-limit-requests"] == "2"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_tokens_are_reserved_and_what_is_not_used_is_put_back(
    stream: bool, path: Path
) -> None:
    key = add_key(path, limits={"tokens_per_minute": 60})
    async with client(gateway(keyed(path)), key) as http:
        answers = [await http.post(CHAT, json=HELLO | {"stream": stream}) for _ in range(3)]

    assert [one.status_code for one in answers] == [200, 200, 429]
    left = [int(one.headers["x-ratelimit-remaining-tokens"]) for one in answers]
    most = PROMPT_TOKENS + 10
    assert left == [60 - most, 60 - USED - most, 60 - 2 * USED]


async def test_a_prompt_beyond_the_limit_is_not_worth_trying_again(path: Path) -> None:
    key = add_key(path, limits={"tokens_per_minute": 0})
    async with client(gateway(keyed(path)), key) as http:
        refused = await http.post(CHAT, json=HELLO)

    assert refused.status_code == 429
    assert refused.headers["x-should-retry"] == "false"


async def test_an_answer_that_could_exceed_the_limit_alone_is_let_in_and_its_use_counted(
    path: Path,
) -> None:
    key = add_key(path, limits={"tokens_per_minute": USED + 1})
    async with client(gateway(keyed(path)), key) as http:
        whole = await http.post(CHAT, json=HELLO | {"max_tokens": 500})
        after = await http.post(CHAT, json=HELLO | {"max_tokens": 500})

    assert whole.status_code == 200
    assert after.status_code == 429
    assert after.headers["x-ratelimit-remaining-tokens"] == "1"


async def test_places_are_limited_and_free_again_when_a_client_leaves(path: Path) -> None:
    key = add_key(path, limits={"concurrent_requests": 1})
    engine = FakeEngine([text("Hello")], hangs=True)
    app = create_app(keyed(path), Models([tiny_model(engine)]))
    async with client(app, key) as http:
        held = asyncio.ensure_future(http.post(CHAT, json=HELLO))
        while not engine.requests:  # noqa: ASYNC110
            await asyncio.sleep(0)
        refused = await http.post(CHAT, json=HELLO)
        held.cancel()
        await asyncio.gather(held, return_exceptions=True)
        engine.hangs, engine.script = False, [text("Hello"), stop()]
        after = await http.post(CHAT, json=HELLO)

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert after.status_code == 200


async def test_a_model_has_limits_of_its_own_for_all_keys(path: Path) -> None:
    keys = [add_key(path, one) for one in ("alice", "bob")]
    model = tiny_model(FakeEngine([text("Hello"), stop()]))
    object.__setattr__(model, "limits", Limits(requests_per_minute=1))
    app = create_app(keyed(path), Models([model]))
    answers = []
    for key in keys:
        async with client(app, key) as http:
            answers.append(await http.post(CHAT, json=HELLO))

    assert [one.status_code for one in answers] == [200, 429]
    assert "model's limit" in answers[1].json()["error"]["message"]


async def test_a_refused_request_takes_nothing_of_other_limits(path: Path) -> None:
    key = add_key(path, limits={"requests_per_minute": 5, "tokens_per_minute": 40})
    async with client(gateway(keyed(path)), key) as http:
        answers = [await http.post(CHAT, json=HELLO) for _ in range(4)]

    assert [one.status_code for one in answers] == [200, 429, 429, 429]
    assert answers[-1].headers["x-ratelimit-remaining-requests"] == "4"


@pytest.mark.parametrize(("limit", "let_in"), [(8, 2), (2, 1), (0, 0)])
async def test_processes_that_count_for_themselves_share_every_limit(
    limit: int, let_in: int
) -> None:
    desk = Desk(LocalCounts(), num_processes=4)
    who = Caller("alice", limits=Limits(requests_per_minute=limit))
    passed = 0
    for _ in range(5):
        with suppress(LimitReached):
            await desk.take(who, "tiny", NO_LIMITS, 10)
            passed += 1

    assert passed == let_in


async def test_over_grpc_limits_end_calls_with_details(path: Path) -> None:
    key = add_key(path, limits={"requests_per_minute": 1})
    settings = keyed(path)
    models = Models([tiny_model(FakeEngine([text("Hello"), stop()]))])
    server = RpcServer(settings, models, free_port("127.0.0.1", 0), Reception.of(settings))
    metadata = (("authorization", f"Bearer {key}"),)
    await server.start()
    try:
        async with AsyncClient(server.address) as connected:
            await connected.chat(chat_request(HELLO), metadata=metadata)
            with pytest.raises(CallFailed) as caught:
                await connected.chat(chat_request(HELLO), metadata=metadata)
            trailers = await trailers_of(server.address, metadata)
    finally:
        await server.stop(0)

    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert trailers["x-ratelimit-limit-requests"] == "1"
    details = Status.FromString(trailers["grpc-status-details-bin"]).details
    retry = error_details_pb2.RetryInfo()
    assert any(one.Unpack(retry) for one in details)
    assert 59 <= retry.retry_delay.seconds <= 61


async def trailers_of(address: str, metadata: Any) -> dict[str, Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.unary_unary("/gateway.v1.ChatService/CreateChatCompletion")
        call = method(chat_request(HELLO).SerializeToString(), metadata=metadata)
        await call.code()
        return dict(await call.trailing_metadata())


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0ms"), (12, "12ms"), (1500, "1.5s"), (60_000, "1m0s"), (60_480, "1m0.48s")],
)
def test_durations_are_written_as_openai_does(ms: int, text: str) -> None:
    assert duration(ms) == text
