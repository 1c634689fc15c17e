"""Bad guides, sent to a real engine beside 64 requests that go on untouched."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any, cast

import httpx
import pytest
from google.protobuf.descriptor import Descriptor

from gateway.client import AsyncClient, CallFailed
from gateway.rpc.paths import field_path
from gateway.v1.chat_pb2 import ChatCompletionRequest
from tests.bad_guides import BAD_GUIDES
from tests.conftest import Figure
from tests.e2e.conftest import Stack
from tests.e2e.dialogue import ask
from tests.rpc import chat_request

IN_FLIGHT = 64
TYPED = [guide for guide in BAD_GUIDES if guide.is_typed]


class Beside:
    """Requests that go on, each begun again where it ends; `ends` has how each ended."""

    def __init__(self, http: httpx.AsyncClient, body: dict[str, Any]) -> None:
        self._http, self._body = http, {**body, "stream": True}
        self.in_flight = 0
        self.ends: list[Any] = []
        self.all_begun = asyncio.Event()

    async def go_on(self) -> None:
        while True:
            async with self._http.stream("POST", "/v1/chat/completions", json=self._body) as got:
                lines = got.aiter_lines()
                await anext(lines)
                self.in_flight += 1
                if self.in_flight == IN_FLIGHT:
                    self.all_begun.set()
                data = [line[6:] async for line in lines if line.startswith("data: ")]
                self.in_flight -= 1
                choice = json.loads(data[-2])["choices"][0]
                self.ends.append((data[-1], choice["finish_reason"]))


@asynccontextmanager
async def beside(stack: Stack, body: dict[str, Any]) -> AsyncIterator[Beside]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=stack.url, timeout=120, limits=limits) as http:
        requests = Beside(http, body)
        tasks = [asyncio.create_task(requests.go_on()) for _ in range(IN_FLIGHT)]
        await asyncio.wait_for(requests.all_begun.wait(), 120)
        yield requests
        while len(requests.ends) < IN_FLIGHT and not any(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=0.1)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [r for r in results if not isinstance(r, asyncio.CancelledError)] == []


@pytest.mark.parametrize(
    ("engine", "story", "least", "usual"),
    [
        pytest.param("stack", "It goes on.", IN_FLIGHT // 2, IN_FLIGHT // 2, id="openvino"),
        pytest.param("scripted", "It goes on.", 0, 0, id="simulated"),
        pytest.param("llm_api", "It pauses.", 0, IN_FLIGHT // 2, id="llm_api"),
    ],
)
async def test_bad_guides_are_refused_by_name_and_touch_nobody(
    engine: str,
    story: str,
    least: int,
    usual: int,
    request: pytest.FixtureRequest,
    figure: Figure,
) -> None:
    stack: Stack = request.getfixturevalue(engine)
    body = ask(stack, f"Tell me a long story. {story}", max_tokens=24, temperature=0)
    over_http, over_grpc, numbers = {}, {}, []

    async with (
        beside(stack, body) as others,
        httpx.AsyncClient(base_url=stack.url, timeout=60) as http,
        AsyncClient(stack.grpc) as rpc,
    ):
        for guide in BAD_GUIDES:
            response = await http.post("/v1/chat/completions", json={**body, **guide.fields})
            told = response.json()["error"]
            over_http[guide.name] = (response.status_code, told["param"])
            numbers.append(others.in_flight)
        for guide in TYPED:
            with pytest.raises(CallFailed) as failed:
                await rpc.chat(chat_request({**body, **guide.fields}))
            over_grpc[guide.name] = (failed.value.code.name, list(failed.value.fields))
            numbers.append(others.in_flight)

    message = cast(Descriptor, ChatCompletionRequest.DESCRIPTOR)
    least_beside, most_beside = min(numbers), max(numbers)
    figure(f"{engine}: {len(numbers)} bad guides beside {least_beside} to {most_beside} requests")
    assert over_http == {guide.name: (400, guide.param) for guide in BAD_GUIDES}
    assert over_grpc == {
        guide.name: ("INVALID_ARGUMENT", [field_path(guide.param, message)]) for guide in TYPED
    }
    assert least_beside >= least
    assert median(numbers) >= usual
    assert len(others.ends) >= IN_FLIGHT
    assert set(others.ends) <= {("[DONE]", "length"), ("[DONE]", "stop")}
