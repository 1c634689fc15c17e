"""Server-sent events: frames to a client, errors after the first byte, silence, disconnects."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import orjson
import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent

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
    return EventSourceResponse(
        _guarded(first, frames),
        sep="\n",
        ping=keep_alive_s,
        ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
        headers={"Cache-Control": "no-cache"},
        shutdown_event=anyio.Event(),
        shutdown_grace_period=drain_s,
    )


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
