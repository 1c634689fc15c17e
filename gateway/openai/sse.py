"""Server-sent events: frames to a client, errors after the first byte, silence, disconnects."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import orjson
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Send

from gateway.errors import GatewayError
from gateway.openai.shapes import error_object

log = structlog.get_logger(__name__)


async def event_stream(
    frames: AsyncGenerator[bytes, None], keep_alive_s: float, drain_s: float
) -> EventSourceResponse:
    """Return a response that streams `frames`, once the first one is there.

    So whatever the engine refuses is raised from here and keeps its HTTP status. Later errors
    end the stream as one `data: {"error": ...}` without [DONE]. A client that leaves closes
    `frames`; a server that stops lets them run for up to `drain_s` seconds.
    """
    first = await anext(frames)
    return FrameStream(
        _guarded(first, frames),
        sep="\n",
        ping=keep_alive_s,
        ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
        headers={"Cache-Control": "no-cache"},
        shutdown_event=anyio.Event(),
        shutdown_grace_period=drain_s,
    )


class FrameStream(EventSourceResponse):
    """Sends frames that are already bytes, without the base class's work for each of them.

    Pings, disconnects and shutdown stay its own; what it does per event (encoding, a debug line,
    a cancel scope around every send) costs as much as all of the gateway's work on a token.
    """

    def __init__(self, frames: AsyncGenerator[bytes, None], **options: Any) -> None:
        super().__init__(frames, **options)
        self._frames = frames

    async def _stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self._frames) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        self.active = False
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _guarded(
    first: bytes, frames: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(frames):
        yield first
        try:
            async for frame in frames:
                yield frame
        except GatewayError as error:
            yield _error_frame(error)
        except Exception:
            log.exception("stream_failed")
            yield _error_frame(GatewayError("The server failed while answering."))


def _error_frame(error: GatewayError) -> bytes:
    return b"data: " + orjson.dumps(error_object(error)) + b"\n\n"
