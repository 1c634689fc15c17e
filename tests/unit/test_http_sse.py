"""A stream before its first byte, in silence, and at its end."""

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from gateway.errors import EngineUnavailable, GatewayError
from gateway.http.disconnect import ClientGone
from gateway.http.sse import BEGIN, BODY, FrameStream
from gateway.under_way import UnderWay

SCOPE = {"type": "http", "method": "POST"}


class ScriptedFrames:
    """Frames of texts; `steps` pauses for ever where the script says None."""

    def __init__(self, *script: str | Exception | None) -> None:
        self.is_closed = False
        self.steps = self._steps(script)

    async def _steps(self, script: tuple[str | Exception | None, ...]) -> AsyncGenerator[str, None]:
        try:
            for step in script:
                if isinstance(step, Exception):
                    raise step
                if step is None:
                    await asyncio.Event().wait()
                    continue
                yield step
        finally:
            self.is_closed = True

    def render(self, step: str) -> bytes:
        return step.encode()

    def end(self) -> bytes:
        return b"[the end]"

    def fail(self, error: GatewayError) -> bytes:
        return b"[" + error.code.encode() + b"]"


class Unwritable(ScriptedFrames):
    """Frames that cannot be rendered."""

    def render(self, step: str) -> bytes:
        raise ZeroDivisionError(step)


class Client:
    """Records what it is sent; leaves when told to, or after so many messages."""

    def __init__(self, leaves_after: int | None = None) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.has_left = asyncio.Event()
        self.has_got = asyncio.Event()
        self._leaves_after = leaves_after

    async def receive(self) -> MutableMapping[str, Any]:
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)
        self.has_got.set()
        if len(self.sent) == self._leaves_after:
            self.has_left.set()

    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent if message["type"] == BODY]


async def stream(frames: ScriptedFrames, client: Client, keep_alive_s: float = 0) -> None:
    await FrameStream(frames, keep_alive_s, UnderWay())(SCOPE, client.receive, client.send)


async def test_what_cannot_be_written_ends_its_generation() -> None:
    frames = Unwritable("a")

    with pytest.raises(ZeroDivisionError):
        await stream(frames, Client())

    assert frames.is_closed


async def test_a_refusal_before_the_first_frame_is_raised_and_nothing_is_sent() -> None:
    client = Client()

    with pytest.raises(EngineUnavailable):
        await stream(ScriptedFrames(EngineUnavailable("Not yet.")), client)

    assert client.sent == []


async def test_a_client_that_waits_for_a_first_frame_is_told_so() -> None:
    client, frames = Client(leaves_after=3), ScriptedFrames(None)

    await stream(frames, client, keep_alive_s=0.01)

    assert [message["type"] for message in client.sent] == [BEGIN, BODY, BODY]
    assert client.bodies() == [b": keep-alive\n\n"] * 2
    assert frames.is_closed


async def test_a_refusal_after_the_first_comment_is_a_frame() -> None:
    has_commented = asyncio.Event()

    class Late(ScriptedFrames):
        async def _steps(self, script: Any) -> AsyncGenerator[str, None]:
            await has_commented.wait()
            raise EngineUnavailable("Gone.")
            yield ""

    class Commented(Client):
        async def send(self, message: MutableMapping[str, Any]) -> None:
            await super().send(message)
            if message["type"] == BODY:
                has_commented.set()

    client = Commented()

    await stream(Late(), client, keep_alive_s=0.01)

    assert client.sent[0]["status"] == 200
    assert client.bodies()[-1] == b"[engine_unavailable]"


async def test_a_client_that_leaves_before_the_first_frame_is_gone() -> None:
    client, frames = Client(), ScriptedFrames(None)
    client.has_left.set()

    with pytest.raises(ClientGone):
        await stream(frames, client)

    assert frames.is_closed


@pytest.mark.parametrize(
    ("raw", "escape"),
    [("\u2028", rb"\u2028"), ("\u2029", rb"\u2029"), ("\u0085", rb"\u0085")],
    ids=["line-separator", "paragraph-separator", "next-line"],
)
@pytest.mark.parametrize("place", [0, 1], ids=["first", "later"])
async def test_what_clients_take_for_a_line_end_is_escaped(
    raw: str, escape: bytes, place: int
) -> None:
    client = Client()
    texts = [f'"a{raw}é{raw}"', '"b"'] if not place else ['"b"', f'"a{raw}é{raw}"']

    await stream(ScriptedFrames(*texts), client)

    assert client.bodies()[place] == b'"a' + escape + "é".encode() + escape + b'"'


async def test_a_stream_that_the_server_ends_says_so() -> None:
    client, frames, under_way = Client(), ScriptedFrames("a", None), UnderWay()

    async def answer() -> None:
        under_way.enter()
        try:
            await FrameStream(frames, 0, under_way)(SCOPE, client.receive, client.send)
        finally:
            under_way.leave()

    task = asyncio.ensure_future(answer())
    await client.has_got.wait()
    await asyncio.sleep(0)
    await under_way.finish(0, lambda: False)

    assert client.bodies() == [b"a", b"[engine_unavailable]"]
    assert client.sent[-1]["more_body"] is False
    assert frames.is_closed
    assert task.cancelled()


async def test_the_server_alone_says_what_becomes_of_the_connection() -> None:
    client = Client()

    await stream(ScriptedFrames("a"), client)

    names = [name for name, _ in client.sent[0]["headers"]]
    assert b"connection" not in names
    assert b"transfer-encoding" not in names
