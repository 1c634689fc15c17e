"""Server-sent events: frames to a client, errors after the first byte, silence, disconnects."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from gateway.errors import GatewayError
from gateway.http.exchange import SERVER_SEND

log = structlog.get_logger(__name__)

Step = TypeVar("Step")

BEGIN, BODY = "http.response.start", "http.response.body"


class Frames(Protocol[Step]):
    """What a stream is made of: steps that come, and how they are written."""

    steps: AsyncGenerator[Step, None]

    def render(self, step: Step) -> bytes:
        """Return the frames of a step, if there are any."""

    def end(self) -> bytes:
        """Return what follows the last step."""

    def fail(self, error: GatewayError) -> bytes:
        """Return what tells of a failure and is the last of the stream."""


async def event_stream(
    frames: Frames[Any], keep_alive_s: float, drain_s: float
) -> EventSourceResponse:
    """Return a response that streams `frames`, once the first one is there.

    So whatever the engine refuses is raised from here and keeps its HTTP status. Later errors
    end the stream as one frame that tells of them. A client that leaves closes
    the steps; a server that stops lets them come for up to `drain_s` seconds.
    """
    first = b""
    try:
        while not first:
            first = frames.render(await anext(frames.steps))
    except BaseException:
        await frames.steps.aclose()
        raise
    return FrameStream(
        first,
        frames,
        sep="\n",
        ping=keep_alive_s,
        ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
        headers={"Cache-Control": "no-cache"},
        shutdown_grace_period=drain_s,
    )


class FrameStream(EventSourceResponse):
    """Sends frames that are already bytes, without the base class's work for each of them.

    Pings, disconnects and shutdown stay its own; what it does per event (encoding, a debug line,
    a cancel scope around every send) costs as much as all of the gateway's work on a token. Nor
    do frames need what is between here and the server, which only looks at a response's start:
    they go to the server's own `send`.
    """

    def __init__(self, first: bytes, frames: Frames[Any], **options: Any) -> None:
        super().__init__(frames.steps, **options)
        self._first = first
        self._frames = frames
        self._send_body: Send | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send_body = scope.get(SERVER_SEND, send)
        await super().__call__(scope, receive, send)

    async def _stream_response(self, send: Send) -> None:
        send_body = self._send_body or send
        render = self._frames.render
        async with aclosing(self._frames.steps) as steps:
            await send({"type": BEGIN, "status": 200, "headers": self.raw_headers})
            await send_body({"type": BODY, "body": self._first, "more_body": True})
            try:
                async for step in steps:
                    if frame := render(step):
                        await send_body({"type": BODY, "body": frame, "more_body": True})
                last = self._frames.end()
            except Exception as error:
                last = self._frames.fail(_told(error))
        self.active = False
        await send_body({"type": BODY, "body": last, "more_body": False})


def _told(error: Exception) -> GatewayError:
    """Return what the client is told of an error; log one that nobody expected."""
    if isinstance(error, GatewayError):
        return error
    log.exception("stream_failed")
    return GatewayError("The server failed while answering.")
