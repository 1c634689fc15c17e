"""Both sides of HTTP/2 as bytes: what gRPC's ends would send, and a server that is scripted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from hpack import Decoder, Encoder

from gateway.http2.frames import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    Frame,
    FrameReader,
    Kind,
    frame,
    settings,
)
from gateway.http2.messages import prefixed

CALL_HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    (":authority", "here"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)
OK_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))


def block(*headers: tuple[str, str]) -> bytes:
    """Return a header block that leaves nothing in a table."""
    return Encoder().encode([(name, value, True) for name, value in headers])


def read_block(block: bytes) -> list[tuple[str, str]]:
    """Return the headers in a block."""
    return [(str(name), str(value)) for name, value in Decoder().decode(block)]


def request(stream_id: int = 1, *headers: tuple[str, str], flags: int = 0) -> bytes:
    """Return the HEADERS with which a call begins, these added or in place of the usual ones."""
    told = block(*(dict(CALL_HEADERS) | dict(headers)).items())
    return frame(Kind.HEADERS, flags | END_HEADERS, stream_id, told)


def response(stream_id: int = 1, *headers: tuple[str, str]) -> bytes:
    """Return the HEADERS with which a response begins."""
    return frame(Kind.HEADERS, END_HEADERS, stream_id, block(*(headers or OK_HEADERS)))


def data(payload: bytes, stream_id: int = 1, flags: int = 0) -> bytes:
    """Return a DATA frame."""
    return frame(Kind.DATA, flags, stream_id, payload)


def message(body: bytes, stream_id: int = 1) -> bytes:
    """Return a DATA frame with one whole message."""
    return data(prefixed(body), stream_id)


def trailers(stream_id: int = 1, code: int = 0, text: str = "") -> bytes:
    """Return the HEADERS with which a call ends."""
    headers = [("grpc-status", str(code))] + ([("grpc-message", text)] if text else [])
    return frame(Kind.HEADERS, END_HEADERS | END_STREAM, stream_id, block(*headers))


class Peer:
    """One client of a scripted server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._frames = FrameReader()
        self._arrived: list[Frame] = []

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def receive(self, kind: Kind) -> Frame:
        """Return the next frame of a kind, skipping others. Raises EOFError."""
        while True:
            while self._arrived:
                arrived = self._arrived.pop(0)
                if arrived[0] == kind:
                    return arrived
            if not (received := await self._reader.read(65536)):
                raise EOFError
            self._arrived += self._frames.feed(received)

    async def listen(self) -> None:
        """Read to the end of what the client sends, and say nothing."""
        while await self._reader.read(65536):
            pass

    async def greet(self, *parameters: bytes) -> None:
        """Take the client's preface and send settings."""
        assert await self._reader.readexactly(len(PREFACE)) == PREFACE
        self.send(*(parameters or (settings(()),)))


@asynccontextmanager
async def serving(
    script: Callable[[Peer], Awaitable[None]], port: int = 0, host: str = "127.0.0.1"
) -> AsyncIterator[str]:
    """Serve every connection by a script; yield the address."""
    peers: list[asyncio.StreamWriter] = []

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer)
        try:
            await script(Peer(reader, writer))
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(play, host, port)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        server.close()
        for writer in peers:
            writer.close()
        await asyncio.sleep(0.01)
