"""Answers to HTTP/1.0, which knows no chunks: without a length, the connection's end is theirs."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


async def until_closed(
    app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer with `app`; what has no content-length ends with the connection (RFC 9112, 6.3)."""

    async def write(message: Message) -> None:
        if message["type"] == "http.response.start" and _is_unbounded(message):
            cycle.chunked_encoding = True  # decided: none of it is written for 1.0
            await send(message)
        elif cycle.chunked_encoding and message["type"] == "http.response.body":
            await _write(cycle, message)
        else:
            await send(message)

    await app(scope, receive, write)


def _is_unbounded(start: Message) -> bool:
    return all(name.lower() != b"content-length" for name, _ in start["headers"])


async def _write(cycle: RequestResponseCycle, message: Message) -> None:
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    if cycle.scope["method"] != "HEAD":
        cycle.transport.write(message.get("body", b""))
    if not message.get("more_body", False):
        cycle.response_complete = True
        cycle.message_event.set()
        cycle.transport.close()
        cycle.on_response()
