"""The server's end of a connection without a socket: a client's bytes in, answers out."""

import zlib

import pytest
from hpack import Encoder

from gateway.http2 import frames
from gateway.http2.endpoint import WINDOW as CONNECTION_WINDOW
from gateway.http2.frames import (
    ACK,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    MAX_WINDOW,
    PREFACE,
    ErrorCode,
    FrameReader,
    Kind,
    ProtocolError,
    Setting,
)
from gateway.http2.headers import MAX_FRAGMENTS
from gateway.http2.messages import prefixed
from gateway.http2.server.connection import ServerConnection
from gateway.http2.server.fields import MAX_FIELDS_BYTES
from gateway.http2.server.patience import MAX_NUISANCES
from gateway.http2.server.requests import Request
from gateway.http2.server.stream import WINDOW, ServerStream
from gateway.http2.server.streams import MAX_HELD_MESSAGES, MAX_STREAMS, End
from gateway.http2.status import Code, Status
from tests.http2 import CALL_HEADERS, block, data, message, read_block, request

MAX_MESSAGE = 1_000_000
OK = Status(Code.OK)


class Clock:
    """Time that stands still until it is told to go on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def ready(*parameters: tuple[Setting, int], clock: Clock | None = None) -> ServerConnection:
    """Return a connection whose client has sent its preface and settings."""
    server = ServerConnection(MAX_MESSAGE, clock or Clock())
    server.receive(PREFACE + frames.settings(parameters))
    server.data_to_send()
    return server


def called(
    *parameters: tuple[Setting, int], clock: Clock | None = None
) -> tuple[ServerConnection, ServerStream]:
    """Return a connection on which a call with one message has come in, and its stream."""
    server = ready(*parameters, clock=clock)
    events = server.receive(request() + data(prefixed(b"ask"), flags=END_STREAM))
    server.data_to_send()
    return server, events[0][0]


def sent(server: ServerConnection) -> list[frames.Frame]:
    return list(FrameReader().feed(server.data_to_send()))


def told(server: ServerConnection) -> list[tuple[int, int, dict[str, str]]]:
    """Return the header blocks that are sent: stream, flags, headers."""
    blocks = [frame for frame in sent(server) if frame[0] == Kind.HEADERS]
    return [(id, flags, dict(read_block(block))) for _, flags, id, block in blocks]


def test_a_server_greets_with_its_settings_and_a_wide_window() -> None:
    assert ServerConnection(MAX_MESSAGE).data_to_send() == bytes.fromhex(
        "000012 04 00 00000000 0003 00000400 0004 00040000 0006 00004000"
        "000004 08 00 00000000 00ff0001"
    )


def test_a_call_comes_as_its_request_its_message_and_an_end() -> None:
    server = ready()
    wire = request(1, ("grpc-timeout", "2S"), ("x-mine", "yes"))

    events = server.receive(wire + message(b"ask") + data(b"", flags=END_STREAM))

    stream = events[0][0]
    asked = Request("/a.B/C", 2.0, "identity", [*CALL_HEADERS, *_extra()])
    assert events == [(stream, asked), (stream, b"ask"), (stream, End.HALF_CLOSED)]
    assert stream.id == 1


def _extra() -> list[tuple[str, str]]:
    return [("grpc-timeout", "2S"), ("x-mine", "yes")]


def test_bytes_may_arrive_one_by_one() -> None:
    server = ServerConnection(MAX_MESSAGE)
    wire = PREFACE + frames.settings(()) + request() + message(b"one") + message(b"two")

    events = [event for byte in wire for event in server.receive(bytes([byte]))]

    assert [item for _, item in events[1:]] == [b"one", b"two"]


def test_headers_may_refer_to_those_of_calls_before() -> None:
    server, encoder = ready(), Encoder()
    blocks = [encoder.encode([*CALL_HEADERS, ("x-token", "abc")]) for _ in range(2)]

    events = [
        event
        for id, told in zip((1, 3), blocks, strict=True)
        for event in server.receive(frames.frame(Kind.HEADERS, END_HEADERS, id, told))
    ]

    assert len(blocks[1]) < len(blocks[0]) // 2
    assert [item.headers[-1] for _, item in events if isinstance(item, Request)] == [
        ("x-token", "abc")
    ] * 2


def test_an_answer_is_headers_messages_and_trailers() -> None:
    server, stream = called()

    server.begin(stream, [("x-request-id", "r1")])
    assert server.send(stream, b"one")
    assert server.send(stream, b"two")
    server.finish(stream, Status(5, "no such: 100 %, é\n"), [("x-bin", b"\0\xff")])

    first, one, two, last = sent(server)
    assert first[:3] == (Kind.HEADERS, END_HEADERS, 1)
    assert dict(read_block(first[3])) == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity, deflate, gzip",
        "x-request-id": "r1",
    }
    assert (one, two) == ((0, 0, 1, prefixed(b"one")), (0, 0, 1, prefixed(b"two")))
    assert last[:3] == (Kind.HEADERS, END_HEADERS | END_STREAM, 1)
    assert dict(read_block(last[3])) == {
        "grpc-status": "5",
        "grpc-message": "no such: 100 %25, %C3%A9%0A",
        "x-bin": "AP8",
    }


def test_an_answer_without_messages_is_all_in_one_header_block() -> None:
    server, stream = called()

    server.finish(stream, Status(12, "no"), ())

    ((_, flags, headers),) = told(server)
    assert flags & END_STREAM
    assert (headers[":status"], headers["grpc-status"]) == ("200", "12")


def test_a_call_ends_once() -> None:
    server, stream = called()
    server.finish(stream, OK, ())
    server.cut(stream, Status(Code.UNAVAILABLE))

    assert [headers["grpc-status"] for _, _, headers in told(server)] == ["0"]


def test_a_client_that_still_sends_is_told_to_stop() -> None:
    server = ready()
    ((stream, _),) = server.receive(request())

    server.finish(stream, OK, ())

    assert sent(server)[-1] == (Kind.RST_STREAM, 0, 1, bytes(4))
    assert server.receive(message(b"late")) == []


def test_a_message_waits_for_the_clients_windows_and_the_end_after_it() -> None:
    server, stream = called((Setting.INITIAL_WINDOW_SIZE, 10))
    server.begin(stream, ())
    server.data_to_send()

    assert not server.send(stream, b"0123456789")
    server.finish(stream, OK, ())
    assert sent(server) == [(0, 0, 1, prefixed(b"0123456789")[:10])]
    assert server.take_drained() == []
    server.receive(frames.window_update(1, 5))

    body, last = sent(server)
    assert body == (0, 0, 1, b"56789")
    assert last[:2] == (Kind.HEADERS, END_HEADERS | END_STREAM)
    assert server.take_drained() == [stream]


def test_a_call_cut_off_does_not_wait_for_the_clients_windows() -> None:
    server, stream = called((Setting.INITIAL_WINDOW_SIZE, 0))
    assert not server.send(stream, b"x")

    server.cut(stream, Status(Code.DEADLINE_EXCEEDED))

    assert [kind for kind, *_ in sent(server)] == [Kind.HEADERS]


def test_a_message_longer_than_a_frame_is_sent_in_several() -> None:
    server, stream = called()
    server.begin(stream, ())
    server.data_to_send()

    assert not server.send(stream, bytes(20_000))

    assert [len(body) for _, _, _, body in sent(server)] == [16_384, 3_621]
    assert server.take_drained() == [stream]


def test_a_stream_whose_window_is_shut_does_not_hold_up_another() -> None:
    server, slow = called((Setting.INITIAL_WINDOW_SIZE, 5))
    fast = server.receive(request(3) + frames.window_update(3, 1000))[0][0]

    assert not server.send(slow, b"x")
    assert server.send(fast, b"fast")

    assert [id for kind, _, id, _ in sent(server) if kind == Kind.DATA] == [3, 1]
    assert server.take_drained() == []


def test_all_streams_share_the_window_of_the_connection() -> None:
    server, stream = called((Setting.INITIAL_WINDOW_SIZE, MAX_WINDOW))
    while server.send(stream, bytes(1000)):
        server.data_to_send()

    left = (DEFAULT_WINDOW % 1005).to_bytes(4, "big")
    assert len(sent(server)[0][3]) == int.from_bytes(left, "big")
    server.receive(frames.window_update(0, 1005))
    assert len(sent(server)[0][3]) == 1005 - int.from_bytes(left, "big")


def test_a_stream_held_up_by_both_windows_needs_both() -> None:
    server, stream = called((Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW - 1))
    other = server.receive(request(3))[0][0]
    server.send(other, bytes(DEFAULT_WINDOW - 11))
    server.data_to_send()

    server.send(stream, bytes(DEFAULT_WINDOW))
    assert [len(body) for _, _, _, body in sent(server)] == [6]
    server.receive(frames.window_update(0, DEFAULT_WINDOW))
    assert sum(len(body) for _, _, _, body in sent(server)) == DEFAULT_WINDOW - 7
    server.receive(frames.window_update(0, 10))
    assert sent(server) == []
    server.receive(frames.window_update(1, 10))
    assert [len(body) for _, _, _, body in sent(server)] == [6]
    assert server.take_drained() == [other, stream]


def test_a_socket_that_is_full_holds_messages_back_but_not_answers_to_pings() -> None:
    server, stream = called()
    server.pause()

    assert not server.send(stream, b"one")
    server.receive(frames.frame(Kind.PING, 0, 0, bytes(8)))

    assert [kind for kind, *_ in sent(server)] == [Kind.PING]
    server.resume()
    assert [kind for kind, *_ in sent(server)] == [Kind.DATA]


def test_nobody_says_more_than_the_loop_can_write_in_a_turn() -> None:
    server, stream = called((Setting.INITIAL_WINDOW_SIZE, MAX_WINDOW))
    server.receive(frames.window_update(0, 2**30))

    num_sent = 0
    while server.send(stream, bytes(10_000)):
        num_sent += 1

    assert num_sent == 7


def test_a_handler_that_does_not_read_shuts_its_streams_window() -> None:
    server = ready()
    stream = server.receive(request())[0][0]
    body = bytes(15_000)
    for _ in range(12):
        server.receive(message(body))
    assert [frame for frame in sent(server) if frame[2] == 1] == []

    for _ in range(9):
        server.read(stream, len(body))

    assert sent(server) == [(Kind.WINDOW_UPDATE, 0, 1, (9 * 15_005).to_bytes(4, "big"))]


def test_a_client_that_overruns_a_window_is_refused() -> None:
    server = ready()
    server.receive(request())

    events = server.receive(message(bytes(16_000)) * (WINDOW // 16_005 + 1))
    while server.is_behind:
        events += server.receive(b"")

    assert events[-1][1] is End.GONE
    ((_, _, headers),) = told(server)
    assert "overran" in headers["grpc-message"]


def test_a_message_longer_than_the_window_arrives() -> None:
    server, body = ready(), bytes(900_000)
    wire, window, events = prefixed(body), WINDOW, server.receive(request())

    while wire:
        piece, wire = wire[: min(window, 16_384)], wire[min(window, 16_384) :]
        window -= len(piece)
        events += server.receive(data(piece))
        window += sum(int.from_bytes(f[3], "big") for f in sent(server) if f[2] == 1)

    assert events[1][1] == body


def test_what_a_connection_makes_us_hold_is_bounded() -> None:
    server = ready()
    half = prefixed(bytes(MAX_MESSAGE))[:-1]
    cuts = [half[at : at + 16_000] for at in range(0, len(half), 16_000)]
    refused = []

    for stream_id in range(1, 2 * MAX_HELD_MESSAGES + 2, 2):
        server.receive(request(stream_id))
        for piece in cuts:
            refused += server.receive(data(piece, stream_id))
        server.data_to_send()

    assert [(stream.id, item) for stream, item in refused] == [
        (2 * MAX_HELD_MESSAGES + 1, End.GONE)
    ]


def test_the_window_of_the_connection_is_given_back_as_data_arrives() -> None:
    server = ready()
    given = 0
    for stream_id in range(1, 2 * CONNECTION_WINDOW // 64_000, 2):
        server.receive(request(stream_id) + message(bytes(16_000), stream_id) * 4)
        server.receive(frames.rst_stream(stream_id, ErrorCode.CANCEL))
        given += sum(int.from_bytes(f[3], "big") for f in sent(server) if f[2] == 0)

    assert given >= CONNECTION_WINDOW // 2


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_message_is_decompressed(encoding: str) -> None:
    bits = zlib.MAX_WBITS + (16 if encoding == "gzip" else 0)
    packer = zlib.compressobj(wbits=bits)
    packed = packer.compress(b"ask" * 1000) + packer.flush()
    wire = request(1, ("grpc-encoding", encoding))

    events = ready().receive(wire + data(b"\1" + prefixed(packed)[1:]) + message(b"plain"))

    assert [item for _, item in events[1:]] == [b"ask" * 1000, b"plain"]


def gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS + 16)
    return b"\1" + prefixed(packer.compress(body) + packer.flush())[1:]


GZIP = ("grpc-encoding", "gzip")
REFUSED = {
    "too large": (request(), data(b"\0" + (MAX_MESSAGE + 1).to_bytes(4, "big")), 8),
    "a bomb": (request(1, GZIP), data(gzip(bytes(2 * MAX_MESSAGE))), 8),
    "no gzip": (request(1, GZIP), data(b"\1\0\0\0\3abc"), 13),
    "gzip cut short": (request(1, GZIP), data(b"\1" + prefixed(gzip(b"abc")[5:-9])[1:]), 13),
    "compressed unsaid": (request(), data(gzip(b"abc")), 13),
    "a strange flag": (request(), data(b"\2\0\0\0\0"), 13),
    "an end within a message": (request(), data(b"\0\0\0\0\5ab", flags=END_STREAM), 13),
    "an unknown encoding": (request(1, ("grpc-encoding", "br")), b"", 12),
    "a strange timeout": (request(1, ("grpc-timeout", "soon")), b"", 13),
    "much metadata": (request(1, ("x-much", "x" * MAX_FIELDS_BYTES)), b"", 8),
}


@pytest.mark.parametrize(("begin", "rest", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_request_that_cannot_be_taken_ends_with_a_status(
    begin: bytes, rest: bytes, code: int
) -> None:
    server = ready()

    events = server.receive(begin + rest)

    assert events[-1][1] is End.GONE
    ((_, flags, headers),) = told(server)
    assert flags & END_STREAM and headers["grpc-status"] == str(code)
    assert server.receive(request(3)), "others go on"


def test_a_bomb_that_is_refused_was_as_much_work_as_what_it_had_become() -> None:
    server, ids = ready(), range(1, 9, 2)
    bombs = [request(id, GZIP) + data(gzip(bytes(2 * MAX_MESSAGE)), id) for id in ids]

    turns = [server.receive(b"".join(bombs))]
    while server.is_behind:
        turns.append(server.receive(b""))

    ends = [[stream.id for stream, item in events if item is End.GONE] for events in turns]
    assert [each for each in ends if each] == [[id] for id in ids]


@pytest.mark.parametrize(
    ("headers", "http_status"),
    [
        ([("content-type", "text/html")], "415"),
        ([("content-type", "application/grpc-web")], "415"),
        ([(":method", "GET")], "405"),
    ],
)
def test_what_is_not_grpc_is_refused_in_http(
    headers: list[tuple[str, str]], http_status: str
) -> None:
    server = ready()

    assert server.receive(request(1, *headers, flags=END_STREAM)) == []

    ((_, flags, answer),) = told(server)
    assert flags & END_STREAM and answer[":status"] == http_status


@pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc;charset=utf-8"])
def test_every_kind_of_grpc_is_taken(kind: str) -> None:
    assert ready().receive(request(1, ("content-type", kind)))


MALFORMED = {
    "capitals": [*CALL_HEADERS, ("X-Mine", "1")],
    "no path": [pair for pair in CALL_HEADERS if pair[0] != ":path"],
    "a path twice": [(":path", "/"), *CALL_HEADERS],
    "a pseudo-header of answers": [(":status", "200"), *CALL_HEADERS],
    "a pseudo-header at the end": [*CALL_HEADERS[1:], CALL_HEADERS[0]],
    "a header of HTTP/1": [*CALL_HEADERS, ("connection", "close")],
    "trailers nobody can take": [*CALL_HEADERS[:-1], ("te", "gzip")],
}


@pytest.mark.parametrize("headers", MALFORMED.values(), ids=MALFORMED.keys())
def test_headers_that_break_http_reset_their_stream(headers: list[tuple[str, str]]) -> None:
    server = ready()

    assert server.receive(frames.frame(Kind.HEADERS, END_HEADERS, 1, block(*headers))) == []

    assert sent(server) == [(Kind.RST_STREAM, 0, 1, b"\0\0\0\x01")]


def test_a_client_may_give_a_call_up() -> None:
    server, stream = called()

    assert server.receive(frames.rst_stream(1, ErrorCode.CANCEL)) == [(stream, End.GONE)]
    assert server.receive(frames.rst_stream(1, ErrorCode.CANCEL)) == []


def test_data_after_its_end_resets_a_stream() -> None:
    server, stream = called()

    assert server.receive(message(b"more")) == [(stream, End.GONE)]
    assert sent(server) == [(Kind.RST_STREAM, 0, 1, b"\0\0\0\x05")]


@pytest.mark.parametrize(
    ("flags", "end"), [(END_STREAM, End.HALF_CLOSED), (0, End.GONE)], ids=["an end", "no end"]
)
def test_trailers_of_a_client_are_an_end_or_a_breach(flags: int, end: End) -> None:
    server = ready()
    server.receive(request())

    ((_, item),) = server.receive(
        frames.frame(Kind.HEADERS, END_HEADERS | flags, 1, block(("x", "y")))
    )

    assert item is end


def test_no_more_streams_open_than_were_allowed() -> None:
    server = ready()
    for number in range(MAX_STREAMS):
        assert server.receive(request(2 * number + 1))

    assert server.receive(request(2 * MAX_STREAMS + 1)) == []

    assert sent(server) == [(Kind.RST_STREAM, 0, 2 * MAX_STREAMS + 1, b"\0\0\0\x07")]


def test_a_drain_takes_what_is_on_its_way_and_then_no_more() -> None:
    server, first = called()

    server.drain()
    early, ping = sent(server)
    late = server.receive(request(3))[0][0]
    server.receive(frames.frame(Kind.PING, ACK, 0, ping[3]))
    last = sent(server)

    assert early == (Kind.GOAWAY, 0, 0, b"\x7f\xff\xff\xff" + bytes(4))
    assert last == [(Kind.GOAWAY, 0, 0, b"\0\0\0\3" + bytes(4))]
    assert server.receive(request(5)) == []
    for stream in (first, late):
        assert not server.is_over
        server.finish(stream, OK, ())
    assert server.is_over


def test_pings_are_answered_and_answers_are_not() -> None:
    server = ready()

    server.receive(frames.frame(Kind.PING, 0, 0, b"12345678"))
    server.receive(frames.frame(Kind.PING, ACK, 0, b"abcdefgh"))

    assert sent(server) == [(Kind.PING, ACK, 0, b"12345678")]


def ping(server: ServerConnection, clock: Clock, pause_s: float) -> None:
    clock.now += pause_s
    server.receive(frames.frame(Kind.PING, 0, 0, bytes(8)))
    server.data_to_send()


def test_a_client_may_ping_every_ten_seconds_for_ever() -> None:
    clock = Clock()
    server = ready(clock=clock)

    for _ in range(100):
        ping(server, clock, 10)


def test_a_client_that_pings_too_often_is_sent_away() -> None:
    clock = Clock()
    server = ready(clock=clock)
    for _ in range(3):
        ping(server, clock, 9)

    with pytest.raises(ProtocolError, match="too_many_pings") as caught:
        ping(server, clock, 9)

    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM
    assert sent(server)[-1][3] == bytes(4) + b"\0\0\0\x0btoo_many_pings"


def test_pings_between_messages_are_no_abuse() -> None:
    clock = Clock()
    server, stream = called(clock=clock)

    for _ in range(100):
        server.send(stream, b"x")
        ping(server, clock, 0.1)
        ping(server, clock, 0.1)


NUISANCES = {
    "calls given up": request(1) + frames.rst_stream(1, ErrorCode.CANCEL),
    "calls that break HTTP": frames.frame(Kind.HEADERS, END_HEADERS, 1, block(("a", "b"))),
    "settings": frames.settings(()),
}


@pytest.mark.parametrize("nuisance", NUISANCES.values(), ids=NUISANCES.keys())
def test_a_flood_of_nuisances_ends_the_connection(nuisance: bytes) -> None:
    clock = Clock()
    server = ready(clock=clock)

    with pytest.raises(ProtocolError) as caught:
        for number in range(MAX_NUISANCES + 1):
            server.receive(_on_stream(nuisance, 2 * number + 1))
            server.data_to_send()

    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


def _on_stream(wire: bytes, stream_id: int) -> bytes:
    """Return frames of stream 1 on another, those of the connection as they are."""
    out = b""
    for kind, flags, id, payload in FrameReader().feed(wire):
        out += frames.frame(Kind(kind), flags, id and stream_id, payload)
    return out


def test_now_and_then_calls_may_be_given_up_for_ever() -> None:
    clock = Clock()
    server = ready(clock=clock)

    for number in range(2 * MAX_NUISANCES):
        clock.now += 0.1
        server.receive(_on_stream(NUISANCES["calls given up"], 2 * number + 1))


def test_a_header_block_in_crumbs_is_refused() -> None:
    server = ready()
    server.receive(frames.frame(Kind.HEADERS, 0, 1, b""))

    with pytest.raises(ProtocolError) as caught:
        server.receive(frames.frame(Kind.CONTINUATION, 0, 1, b"") * MAX_FRAGMENTS)

    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_the_windows_of_open_streams_follow_the_clients_settings() -> None:
    server, stream = called((Setting.INITIAL_WINDOW_SIZE, 0))
    assert not server.send(stream, b"one")
    assert sent(server) == []

    server.receive(frames.settings([(Setting.INITIAL_WINDOW_SIZE, 100)]))

    assert sent(server)[1:] == [(0, 0, 1, prefixed(b"one"))]


def test_a_stream_window_opened_too_far_ends_only_its_call() -> None:
    server, stream = called()

    assert server.receive(frames.window_update(1, MAX_WINDOW)) == [(stream, End.GONE)]
    assert server.receive(request(3))


PROTOCOL, SIZE, FLOW = (
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
)
BREACHES = {
    "data on stream 0": ("000000 00 00 00000000", PROTOCOL),
    "data on a stream never opened": ("000000 00 00 00000003", PROTOCOL),
    "a stream of the server's": ("000001 01 05 00000002 88", PROTOCOL),
    "headers on stream 0": ("000001 01 05 00000000 88", PROTOCOL),
    "a push": ("000004 05 04 00000001 00000002", PROTOCOL),
    "an interrupted header block": ("000001 01 00 00000003 88 000000 00 00 00000001", PROTOCOL),
    "a continuation of nothing": ("000000 09 04 00000001", PROTOCOL),
    "headers that cannot be read": ("000001 01 04 00000003 ff", ErrorCode.COMPRESSION_ERROR),
    "a reset of nothing": ("000004 03 00 00000003 00000000", PROTOCOL),
    "a short reset": ("000003 03 00 00000001 000000", SIZE),
    "settings on a stream": ("000000 04 00 00000001", PROTOCOL),
    "a window set too wide": ("000006 04 00 00000000 0004 80000000", FLOW),
    "a ping on a stream": ("000008 06 00 00000001 0000000000000000", PROTOCOL),
    "a short goaway": ("000007 07 00 00000000 00000000000000", SIZE),
    "a window update of nothing": ("000004 08 00 00000000 00000000", PROTOCOL),
    "a window of a stream never opened": ("000004 08 00 00000009 00000001", PROTOCOL),
    "a window opened too far": ("000004 08 00 00000000 7fffffff", FLOW),
    "padding beyond the frame": ("000001 00 08 00000001 01", PROTOCOL),
    "a frame too long": ("004001 00 00 00000001", SIZE),
}


@pytest.mark.parametrize(("wire", "code"), BREACHES.values(), ids=BREACHES.keys())
def test_a_breach_ends_the_connection_with_its_reason(wire: str, code: ErrorCode) -> None:
    server = ready()
    server.receive(request())

    with pytest.raises(ProtocolError) as caught:
        server.receive(bytes.fromhex(wire))

    assert caught.value.code == code
    ((kind, _, _, payload),) = sent(server)[-1:]
    assert (kind, payload[:8]) == (Kind.GOAWAY, b"\0\0\0\1" + code.to_bytes(4, "big"))


@pytest.mark.parametrize(
    "wire",
    [b"GET / HTTP/1.1\r\n\r\n", PREFACE[:-1] + b"x", PREFACE + frames.frame(Kind.PING, 0, 0)],
    ids=["HTTP/1.1", "a wrong preface", "no settings"],
)
def test_a_client_that_does_not_speak_http2_is_told_apart(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        ServerConnection(MAX_MESSAGE).receive(wire)


def test_unknown_frames_settings_and_priorities_are_ignored() -> None:
    server = ready()
    wire = bytes.fromhex("000002 fa 00 00000001 0000000005 02 00 00000001 0000000010")
    wire += bytes.fromhex("000006 04 00 00000000 00aa 00000007")
    wire += frames.goaway(ErrorCode.NO_ERROR, "", 0)

    assert server.receive(wire + request())
