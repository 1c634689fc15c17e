"""The mock's side of HTTP/2, in memory, against the gateway's own client."""

import asyncio

import pytest

from bench.http2_server import Peer, data
from gateway.http2.connection import Connection
from gateway.http2.headers import call_block
from gateway.http2.messages import PREFIX_BYTES, prefixed
from gateway.http2.status import Code, Status

BLOCK = call_block("http", "a", "/a.Service/Method")


class Wire(asyncio.Transport):
    """Keeps what the server writes."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data


class Pair:
    """A client and the server, which notes the requests it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, bytes]] = []
        self.client = Connection()
        self.server = Peer(lambda _, *request: self.asked.append(request))
        self.wire = Wire()
        self.server.connection_made(self.wire)
        self.exchange()

    def exchange(self) -> list[tuple[int, bytes | Status]]:
        """Carry what both have to say; return what the client makes of it."""
        events = []
        for _ in range(3):
            self.server.data_received(self.client.data_to_send())
            said = bytes(self.wire.written)
            self.wire.written.clear()
            events += self.client.receive(said)
        return events


def test_a_request_is_told_when_it_is_whole_and_answered_in_one_message() -> None:
    pair = Pair()
    body = prefixed(bytes(100_000))

    stream_id = pair.client.open(BLOCK, body)
    pair.exchange()
    pair.server.answer_once(stream_id, b"pong")

    assert pair.asked == [(stream_id, "/a.Service/Method", body)]
    assert pair.exchange() == [(stream_id, b"pong"), (stream_id, Status(Code.OK, ""))]
    assert pair.server.windows == {}


def test_a_stream_may_carry_no_more_than_its_client_takes() -> None:
    pair = Pair()
    stream_id = pair.client.open(BLOCK, prefixed(b"?"))
    pair.exchange()
    frame = data(stream_id, bytes(15_000))

    sent = [frame for _ in range(6) if pair.server.take(stream_id, len(frame))]
    pair.server.write([pair.server.begin(stream_id), *sent])
    for _, message in pair.exchange():
        assert isinstance(message, bytes)
        pair.client.read(stream_id, PREFIX_BYTES + len(message))
    pair.exchange()

    assert len(sent) == 4
    assert pair.server.take(stream_id, len(frame))


@pytest.mark.parametrize("cut", [1, 24, 30], ids=str)
def test_a_greeting_may_come_in_pieces(cut: int) -> None:
    server, client, wire = Peer(lambda *_: None), Connection(), Wire()
    greeting = client.data_to_send()
    server.connection_made(wire)

    server.data_received(greeting[:cut])
    server.data_received(greeting[cut:])
    client.receive(bytes(wire.written))

    assert client.is_ready


def test_a_reset_stream_is_forgotten() -> None:
    pair = Pair()
    stream_id = pair.client.open(BLOCK, prefixed(b"?"))
    pair.exchange()

    pair.client.reset(stream_id)
    pair.exchange()

    assert pair.server.windows == {}
