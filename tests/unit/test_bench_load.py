"""The benchmark's client: what it counts, and what it takes for a failure."""

import asyncio
import json

import pytest

from bench.client import Answer, Connection
from bench.load import Load

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
SAID = b'data: {"choices": [{"delta": {"content": "x"}}], "usage": null}\n\n'
USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 40}}\n\n'
DONE = b"data: [DONE]\n\n"
WHOLE = b'{"usage": {"prompt_tokens": 3, "completion_tokens": 7}}'
END = b"0\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that says what it was given to say once it is written to."""

    def __init__(self, connection: Connection, *pieces: bytes) -> None:
        self._connection = connection
        self._pieces = pieces
        connection.connection_made(self)

    def is_closing(self) -> bool:
        return False

    def write(self, _: bytes | bytearray | memoryview) -> None:
        for piece in self._pieces:
            self._connection.data_received(piece)
        self._connection.connection_lost(None)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def asked(*pieces: bytes) -> Answer:
    connection = Connection()
    Wire(connection, *pieces)
    return await connection.ask(b"a request")


async def test_tokens_are_those_of_the_usage_however_many_events_there_were() -> None:
    answer = await asked(HEAD, chunk(SAID), chunk(SAID + USAGE), chunk(DONE), END)

    assert (answer.events, answer.tokens) == (4, 40)
    assert 0 < answer.sent_at <= answer.first_at <= answer.last_at


async def test_a_whole_answer_ends_where_its_length_says() -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(WHOLE)}\r\n\r\n".encode()

    answer = await asked(head + WHOLE[:9], WHOLE[9:])

    assert (answer.events, answer.tokens) == (0, 7)


@pytest.mark.parametrize(
    ("pieces", "complaint"),
    [
        ((HEAD, chunk(SAID + USAGE)), "the connection was lost"),
        ((HEAD, chunk(SAID + USAGE), END), "cut short"),
        ((HEAD, chunk(SAID + DONE), END), "no usage"),
        ((b"HTTP/1.1 503 No\r\n\r\n",), "503 No"),
    ],
    ids=["no end", "not done", "no usage", "an error"],
)
async def test_a_stream_that_is_not_whole_is_a_failure(
    pieces: tuple[bytes, ...], complaint: str
) -> None:
    with pytest.raises(ConnectionError, match=complaint):
        await asked(*pieces)


def test_only_a_stream_asks_for_the_usage_of_one() -> None:
    streamed = json.loads(Load("", "m", 1, 1).body())
    whole = json.loads(Load("", "m", 1, 1, stream=False).body())

    assert streamed["stream_options"] == {"include_usage": True}
    assert "stream_options" not in whole
