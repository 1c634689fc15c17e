"""Server-sent events: frames to a client, errors after the first byte, silence, disconnects."""

import asyncio
import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import anyio
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import GatewayError
from gateway.http.disconnect import ClientGone
from gateway.http.exchange import SERVER_SEND
from gateway.under_way import UnderWay, stopping

log = structlog.get_logger(__name__)

Step = TypeVar("Step")

BEGIN, BODY = "http.response.start", "http.response.body"

LAST_WORDS_S = 1.0

LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\u0085\u2028\u2029"}
"""What ends a line for str.splitlines, though not for JSON nor in event streams: clients that
read lines so (httpx, requests) would cut a frame there."""


class Frames(Protocol[Step]):
    """What a stream is made of: steps that come, and how they are written: as lines of JSON."""

    steps: AsyncGenerator[Step, None]

    def render(self, step: Step) -> bytes:
        """Return the frames of a step, if there are any."""

    def end(self) -> bytes:
        """Return what follows the last step."""

    def fail(self, error: GatewayError) -> bytes:
        """Return what tells of a failure and is the last of the stream."""


class FrameStream(EventSourceResponse):
    """Sends frames that are already bytes, without the base class's work for each of them.

    It begins with the first frame: what the engine refuses before is raised, and keeps its HTTP
    status. Where none comes within `keep_alive_s`, it begins with a comment. Later errors end the
    stream as one frame that tells of them, and so does a server that stops. A client that leaves
    closes the steps; ClientGone is raised if it saw nothing.

    Pings, disconnects and shutdown are the base class's; what that does per event (encoding, a
    debug line, a cancel scope around every send) costs as much as all of the gateway's work on a
    token. Nor do frames need what is between here and the server, which only looks at a
    response's start: they go to the server's own `send`.
    """

    def __init__(self, frames: Frames[Any], keep_alive_s: float, under_way: UnderWay) -> None:
        super().__init__(
            frames.steps,
            sep="\n",
            ping=keep_alive_s,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
            headers={"Cache-Control": "no-cache"},
            shutdown_grace_period=math.inf,  # UnderWay bounds it
        )
        del self.headers["connection"]  # the server's to say
        self._frames = frames
        self._under_way = under_way
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send, self._send_body = send, scope.get(SERVER_SEND, send)
        await super().__call__(scope, receive, self._send_comment)
        if not self._has_begun:
            raise ClientGone

    async def _send_comment(self, message: Message) -> None:
        """Send what the base class has to say."""
        await self._begin()
        await self._send_body(message)

    async def _stream_response(self, send: Send) -> None:
        send_body, render = self._send_body, self._frames.render
        async with aclosing(self._frames.steps) as steps:
            try:
                first = await self._first(steps)
                await self._begin()
                await send_body({"type": BODY, "body": first, "more_body": True})
                async for step in steps:
                    if frame := render(step):
                        if not frame.isascii():
                            frame = escaped(frame)
                        await send_body({"type": BODY, "body": frame, "more_body": True})
                last = self._frames.end()
            except Exception as error:
                if not self._has_begun:
                    raise
                last = self._frames.fail(_told(error))
            except asyncio.CancelledError:
                if self._has_begun and self._under_way.is_over:
                    with anyio.move_on_after(LAST_WORDS_S, shield=True):
                        await self._send_last(self._frames.fail(stopping()))
                raise
        await self._send_last(last)

    async def _first(self, steps: AsyncGenerator[Any, None]) -> bytes:
        frame = b""
        while not frame:
            frame = self._frames.render(await anext(steps))
        return escaped(frame)

    async def _begin(self) -> None:
        """Send the response's start, once. What follows waits behind it, in the server's order."""
        if not self._has_begun:
            self._has_begun = True
            await self._send({"type": BEGIN, "status": 200, "headers": self.raw_headers})

    async def _send_last(self, frame: bytes) -> None:
        self.active = False
        await self._send_body({"type": BODY, "body": escaped(frame), "more_body": False})


def escaped(frame: bytes) -> bytes:
    """Return a frame without characters that some clients take for the end of a line."""
    if 0xC2 not in frame and 0xE2 not in frame:  # the bytes that they begin with
        return frame
    text = frame.decode()
    if "\u0085" in text or "\u2028" in text or "\u2029" in text:
        return text.translate(LINE_ENDS).encode()
    return frame


def _told(error: Exception) -> GatewayError:
    """Return what the client is told of an error; log one that nobody expected."""
    if isinstance(error, GatewayError):
        return error
    log.exception("stream_failed")
    return GatewayError("The server failed while answering.")
