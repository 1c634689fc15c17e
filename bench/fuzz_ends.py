"""Both ends of HTTP/2 as a fuzzer drives them, and what a well-behaved peer says to each."""

import random
import zlib

from hpack import Encoder

from gateway.http2 import frames
from gateway.http2.connection import Connection
from gateway.http2.frames import END_HEADERS, END_STREAM, ErrorCode, Kind, Setting
from gateway.http2.messages import PREFIX_BYTES, prefixed
from gateway.http2.server.connection import ServerConnection
from gateway.http2.server.requests import Request
from gateway.http2.server.stream import ServerStream
from gateway.http2.server.streams import End
from gateway.http2.status import Code, Status

NUM_STREAMS = 4
BODY = bytes(100)
MAX_MESSAGE_BYTES = 2**16


class ClientEnd:
    """A client with a few open calls."""

    body_bytes = len(BODY)

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._client = Connection()
        self.said = server_says(rng)
        if rng.random() < 0.9:
            self._client.receive(self.said.pop(0))
        for _ in range(NUM_STREAMS):
            self._client.open(b"\x20\x83", BODY)
        self._client.data_to_send()

    def feed(self, data: bytes) -> int:
        events = self._client.receive(data)
        for stream_id, item in events:
            if isinstance(item, bytes) and self._rng.random() < 0.7:
                self._client.read(stream_id, PREFIX_BYTES + len(item))
        return len(events)

    def data_to_send(self) -> bytes:
        return self._client.data_to_send()


class ServerEnd:
    """A server that answers every message with two, unless the windows say no."""

    body_bytes = 2 * len(BODY)

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._server = ServerConnection(MAX_MESSAGE_BYTES)
        self._busy: set[ServerStream] = set()
        self.said = client_says(rng)
        self._server.data_to_send()

    def feed(self, data: bytes) -> int:
        events = self._server.receive(data)
        gone = {stream for stream, item in events if item is End.GONE}
        for stream, item in events:
            if stream not in gone:
                self._answer(stream, item)
        return len(events)

    def data_to_send(self) -> bytes:
        data = self._server.data_to_send()
        self._busy -= set(self._server.take_drained())
        return data

    def _answer(self, stream: ServerStream, item: Request | bytes | End) -> None:
        if isinstance(item, bytes):
            self._server.read(stream, len(item))
            while stream not in self._busy and self._rng.random() < 0.5:
                if not self._server.send(stream, BODY):
                    self._busy.add(stream)
        elif isinstance(item, Request):
            self._server.begin(stream, [("x-a", "b")])
        elif self._rng.random() < 0.7:
            self._server.finish(stream, Status(Code.OK), ())


def _block(*headers: tuple[str, str]) -> bytes:
    return Encoder().encode([(name, value, True) for name, value in headers])


_BEGIN = _block((":status", "200"), ("content-type", "application/grpc"))
_END = _block(("grpc-status", "13"), ("grpc-message", "no%20luck %e2%82%ac"))


def server_says(rng: random.Random) -> list[bytes]:
    """Return what a server might well send to a client with a few open streams, by frames."""
    said = [frames.settings([(Setting.MAX_CONCURRENT_STREAMS, 100)])]
    said.append(frames.frame(Kind.SETTINGS, frames.ACK, 0))
    for stream_id in range(1, 2 * NUM_STREAMS, 2):
        said.append(frames.frame(Kind.HEADERS, frames.END_HEADERS, stream_id, _BEGIN))
        whole = prefixed(rng.randbytes(rng.randrange(300))) * rng.randrange(1, 4)
        cut = rng.randrange(len(whole))
        said.append(frames.frame(Kind.DATA, 0, stream_id, whole[:cut]))
        said.append(frames.frame(Kind.PING, 0, 0, rng.randbytes(8)))
        padded = b"\x05" + whole[cut:] + bytes(5)
        said.append(frames.frame(Kind.DATA, frames.PADDED, stream_id, padded))
        said.append(frames.window_update(rng.choice((0, stream_id)), rng.randrange(1, 2**16)))
        said.append(frames.frame(Kind.HEADERS, frames.END_STREAM, stream_id, _END[:3]))
        said.append(frames.frame(Kind.CONTINUATION, frames.END_HEADERS, stream_id, _END[3:]))
    said.append(frames.rst_stream(1, ErrorCode.CANCEL))
    said.append(frames.frame(Kind.GOAWAY, 0, 0, rng.randbytes(8)))
    return said


_CALL = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/gateway.v1.ChatService/StreamChatCompletion"),
    ("content-type", "application/grpc"),
    ("grpc-encoding", "gzip"),
    ("grpc-timeout", "3S"),
)


def client_says(rng: random.Random) -> list[bytes]:
    """Return what a client with a few calls might well send, by frames."""
    encoder = Encoder()
    said = [frames.PREFACE, frames.settings([(Setting.INITIAL_WINDOW_SIZE, rng.randrange(2**17))])]
    said.append(frames.frame(Kind.SETTINGS, frames.ACK, 0))
    for stream_id in range(1, 2 * NUM_STREAMS, 2):
        block = encoder.encode([*_CALL, ("x-request-id", f"r{rng.randrange(9)}")])
        cut = rng.randrange(len(block))
        said.append(frames.frame(Kind.HEADERS, 0, stream_id, block[:cut]))
        said.append(frames.frame(Kind.CONTINUATION, END_HEADERS, stream_id, block[cut:]))
        whole = prefixed(rng.randbytes(rng.randrange(300))) + _packed(rng.randbytes(50))
        cut = rng.randrange(len(whole))
        said.append(frames.frame(Kind.DATA, 0, stream_id, whole[:cut]))
        said.append(frames.frame(Kind.PING, 0, 0, rng.randbytes(8)))
        padded = b"\x05" + whole[cut:] + bytes(5)
        said.append(frames.frame(Kind.DATA, frames.PADDED, stream_id, padded))
        said.append(frames.window_update(rng.choice((0, stream_id)), rng.randrange(1, 2**16)))
        said.append(frames.frame(Kind.DATA, END_STREAM, stream_id))
    said.append(frames.rst_stream(1, ErrorCode.CANCEL))
    said.append(frames.frame(Kind.GOAWAY, 0, 0, rng.randbytes(8)))
    return said


def _packed(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS + 16)
    return b"\1" + prefixed(packer.compress(body) + packer.flush())[1:]
