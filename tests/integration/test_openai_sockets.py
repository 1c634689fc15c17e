"""What only a socket shows: silence, slow bodies, deadlines, errors after the first byte."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import pytest
import structlog

from gateway.errors import EngineFailure, EngineTimeout
from gateway.generation import Generation, Item
from gateway.settings import Settings
from tests.fakes import FakeEngine, stop, text
from tests.grpc_service import until
from tests.serving import serving

PATH = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


class SlowEngine(FakeEngine):
    """Pauses before every item but the first."""

    pause_s = 0.3

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        async for number, item in numbered(super().generate(generation)):
            if number:
                await asyncio.sleep(self.pause_s)
            yield item


class HeldEngine(FakeEngine):
    """Keeps back all but the first item until it is told to go on."""

    def __init__(self, script: list[Item]) -> None:
        super().__init__(script)
        self.go = asyncio.Event()

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        async for number, item in numbered(super().generate(generation)):
            if number:
                await self.go.wait()
            yield item


async def numbered(items: AsyncGenerator[Item, None]) -> AsyncIterator[tuple[int, Item]]:
    number = 0
    async for item in items:
        yield number, item
        number += 1


async def lines_of(url: str) -> AsyncGenerator[str, None]:
    """Yield the lines of a stream as they come."""
    async with httpx.AsyncClient() as http, http.stream("POST", url + PATH, json=HELLO) as response:
        async for line in response.aiter_lines():
            if line:
                yield line


async def test_a_long_silence_is_filled_with_comments() -> None:
    engine = SlowEngine([text("a"), text("b"), stop()])

    async with serving(engine, Settings(keep_alive_s=0.05)) as url:
        lines = [line async for line in lines_of(url)]

    comments = [line for line in lines if line.startswith(":")]
    assert len(comments) >= 4
    assert set(comments) == {": keep-alive"}
    assert lines[-1] == "data: [DONE]"


async def test_every_delta_is_sent_when_it_comes() -> None:
    engine = HeldEngine([text("a"), text("b"), stop()])
    lines: list[str] = []

    async with serving(engine, Settings()) as url:
        async for line in lines_of(url):
            lines.append(line)
            if '"content":"a"' in line:
                engine.go.set()

    assert lines[-1] == "data: [DONE]", "what follows a was made once a had come"


async def test_an_error_after_the_first_byte_is_the_last_event() -> None:
    engine = SlowEngine([text("a"), EngineFailure("It broke.")])

    async with serving(engine, Settings()) as url:
        *_, last = [line async for line in lines_of(url)]

    assert json.loads(last[6:])["error"]["code"] == "engine_failure"


async def test_a_deadline_in_mid_stream_is_told() -> None:
    engine = SlowEngine([text("a"), EngineTimeout("Too late.")])

    async with serving(engine, Settings()) as url:
        *_, last = [line async for line in lines_of(url)]

    assert json.loads(last[6:])["error"]["code"] == "engine_timeout"


async def test_a_body_that_is_slow_to_come_is_a_408_and_the_end_of_the_connection() -> None:
    async with serving(FakeEngine(), Settings(body_timeout_s=0.1)) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        asked = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{asked}Content-Length: 99\r\n\r\n{{".encode())

        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"x-should-retry: false" in head
    assert b"x-request-id: " in head
    assert json.loads(body)["error"]["code"] == "request_timeout"


@pytest.mark.parametrize("path", [PATH, "/v1/tokenize"])
async def test_a_client_that_leaves_within_its_body_is_no_failure(path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    head += "Content-Length: 100\r\n\r\n"

    with structlog.testing.capture_logs() as logs:
        async with serving(FakeEngine([]), Settings()) as url:
            _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
            writer.write(head.encode() + b'{"mod')
            await writer.drain()
            writer.close()
            await until(lambda: bool(logs))

    assert [(entry["event"], entry.get("status")) for entry in logs] == [("request", 499)]
