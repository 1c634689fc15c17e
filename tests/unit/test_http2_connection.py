"""One connection without a socket: the server's bytes in; events, and bytes to send, out."""

import pytest

from gateway.http2 import endpoint, frames, stream
from gateway.http2.connection import Connection
from gateway.http2.frames import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    ErrorCode,
    FrameReader,
    Kind,
    ProtocolError,
    Setting,
)
from gateway.http2.headers import MAX_BLOCK_BYTES
from gateway.http2.messages import prefixed
from gateway.http2.status import Code, Status
from tests.http2 import block, data, message, response, trailers

BLOCK = bytes.fromhex("2083")
OK = Status(0)


def ready(*parameters: tuple[Setting, int]) -> Connection:
    """Return a connection whose server has told its settings."""
    client = Connection()
    client.receive(frames.settings(parameters))
    client.data_to_send()
    return client


def calling(body: bytes = b"ask", *parameters: tuple[Setting, int]) -> Connection:
    """Return a connection on which stream 1 has been opened."""
    client = ready(*parameters)
    assert client.open(BLOCK, body) == 1
    client.data_to_send()
    return client


def sent(client: Connection) -> list[frames.Frame]:
    return list(FrameReader().feed(client.data_to_send()))


def test_a_client_greets_with_the_preface_its_settings_and_a_wide_window() -> None:
    assert Connection().data_to_send().hex(" ") == (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".hex(" ")
        + " 00 00 12 04 00 00 00 00 00 00 01 00 00 00 00 00 02 00 00 00 00 00 06 00 01 00 00"
        + " 00 00 04 08 00 00 00 00 00 00 ff 00 01"
    )


def test_settings_are_acknowledged_and_open_the_connection() -> None:
    client = Connection()
    client.data_to_send()
    assert not client.can_open

    client.receive(bytes.fromhex("000000 04 00 00000000"))

    assert client.can_open
    assert client.data_to_send() == bytes.fromhex("000000 04 01 00000000")


def test_a_request_is_headers_and_data_that_end_the_stream() -> None:
    client = ready()

    client.open(BLOCK, b"abc")
    client.open(BLOCK, b"d")

    assert client.data_to_send() == bytes.fromhex(
        "000002 01 04 00000001 2083  000002 01 04 00000003 2083"
        "000003 00 01 00000001 616263  000001 00 01 00000003 64"
    )


def test_a_call_yields_its_messages_and_then_its_status() -> None:
    wire = response() + message(b"one") + message(b"") + trailers()

    assert calling().receive(wire) == [(1, b"one"), (1, b""), (1, OK)]


def test_bytes_may_arrive_one_by_one() -> None:
    wire = response() + message(b"one") + message(b"two") + trailers(code=5, text="no%20such")
    client = calling()

    events = [event for byte in wire for event in client.receive(bytes([byte]))]

    assert events == [(1, b"one"), (1, b"two"), (1, Status(5, "no such"))]


def test_messages_straddle_frames_and_share_them() -> None:
    wire = prefixed(b"one") + prefixed(b"two") + prefixed(b"three")
    client = calling()

    events = client.receive(response() + data(wire[:3]) + data(wire[3:19]) + data(wire[19:]))

    assert events == [(1, b"one"), (1, b"two"), (1, b"three")]


def test_padding_is_not_part_of_a_message() -> None:
    padded = data(b"\x04" + prefixed(b"one") + bytes(4), flags=PADDED)

    assert calling().receive(response() + padded) == [(1, b"one")]


def test_a_header_block_may_be_continued() -> None:
    whole = block((":status", "200"), ("content-type", "application/grpc"))
    wire = frames.frame(Kind.HEADERS, 0, 1, whole[:1])
    wire += frames.frame(Kind.CONTINUATION, 0, 1, b"")
    wire += frames.frame(Kind.CONTINUATION, END_HEADERS, 1, whole[1:])

    assert calling().receive(wire + message(b"one")) == [(1, b"one")]


def test_a_refusal_may_be_all_in_one_header_block() -> None:
    wire = frames.frame(
        Kind.HEADERS,
        END_HEADERS | END_STREAM,
        1,
        block((":status", "200"), ("grpc-status", "12"), ("grpc-message", "no")),
    )

    assert calling().receive(wire) == [(1, Status(12, "no"))]


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (response(1, (":status", "502")), Code.UNAVAILABLE),
        (message(b"early"), Code.INTERNAL),
        (response() + response(), Code.INTERNAL),
        (response() + data(b"\x01\0\0\0\x01x"), Code.INTERNAL),
        (response() + data(b"\0\xff\xff\xff\xff"), Code.INTERNAL),
    ],
    ids=["http error", "data first", "headers twice", "compressed", "too long"],
)
def test_a_call_gone_wrong_is_reset_and_no_other(wire: bytes, code: Code) -> None:
    client = calling()
    client.open(BLOCK, b"")
    client.data_to_send()

    events = client.receive(wire + response(3) + message(b"fine", 3))

    assert [(id, getattr(item, "code", item)) for id, item in events] == [(1, code), (3, b"fine")]
    assert sent(client) == [(Kind.RST_STREAM, 0, 1, b"\0\0\0\x01")]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (data(b"", flags=END_STREAM), Code.UNKNOWN),
        (data(b"\0\0\0\0\x09half") + trailers(), Code.INTERNAL),
        (frames.rst_stream(1, ErrorCode.REFUSED_STREAM), Code.UNAVAILABLE),
    ],
    ids=["no trailers", "within a message", "reset"],
)
def test_a_call_that_does_not_end_well_does_not_end_ok(end: bytes, status: Code) -> None:
    ((_, item),) = calling().receive(response() + end)

    assert isinstance(item, Status)
    assert item.code == status


def test_a_cancelled_call_is_reset_and_forgotten() -> None:
    client = calling()

    client.reset(1)

    assert client.data_to_send() == bytes.fromhex("000004 03 00 00000001 00000008")
    assert client.receive(response() + message(b"late") + trailers()) == []
    client.reset(1)
    assert client.data_to_send() == b""


def test_a_server_that_answers_before_it_has_heard_all_is_told_no_more_will_come() -> None:
    client = calling(bytes(100_000))

    assert client.receive(response() + trailers(code=8, text="full")) == [(1, Status(8, "full"))]
    assert sent(client) == [(Kind.RST_STREAM, 0, 1, b"\0\0\0\x08")]


def test_pings_are_answered_and_answers_are_not() -> None:
    client = ready()

    client.receive(frames.frame(Kind.PING, 0, 0, b"12345678"))
    client.receive(frames.frame(Kind.PING, frames.ACK, 0, b"abcdefgh"))

    assert sent(client) == [(Kind.PING, frames.ACK, 0, b"12345678")]


def test_a_request_waits_for_the_servers_windows() -> None:
    client = ready((Setting.INITIAL_WINDOW_SIZE, 10))
    client.open(BLOCK, b"0123456789abcdef")

    assert sent(client)[1:] == [(0, 0, 1, b"0123456789")]
    client.receive(frames.window_update(1, 2))
    assert sent(client) == [(0, 0, 1, b"ab")]
    client.receive(frames.settings([(Setting.INITIAL_WINDOW_SIZE, 14)]))
    assert sent(client)[1:] == [(0, END_STREAM, 1, b"cdef")]


def test_all_requests_share_the_window_of_the_connection() -> None:
    client = ready((Setting.INITIAL_WINDOW_SIZE, 2**20), (Setting.MAX_FRAME_SIZE, 2**20))
    client.open(BLOCK, bytes(60_000))
    client.open(BLOCK, bytes(10_000))

    bodies = [(id, len(body)) for kind, _, id, body in _long(client.data_to_send()) if kind == 0]
    assert bodies == [(1, 60_000), (3, 5_535)]
    client.receive(frames.window_update(0, 4_465))
    assert [(id, len(body)) for _, _, id, body in sent(client)] == [(3, 4_465)]


def _long(wire: bytes) -> list[frames.Frame]:
    """Return frames of any length."""
    read = []
    while wire:
        end = 9 + int.from_bytes(wire[:3], "big")
        read.append((wire[3], wire[4], int.from_bytes(wire[5:9], "big"), wire[9:end]))
        wire = wire[end:]
    return read


def test_a_window_may_be_negative_for_a_while() -> None:
    client = calling(bytes(65_535 + 3))
    client.receive(frames.settings([(Setting.INITIAL_WINDOW_SIZE, 0)]) + frames.window_update(0, 9))
    client.data_to_send()

    client.receive(frames.window_update(1, 65_535))
    assert sent(client) == []
    client.receive(frames.window_update(1, 3))

    assert sent(client) == [(0, END_STREAM, 1, bytes(3))]


def test_a_paused_socket_holds_requests_back_but_not_answers_to_pings() -> None:
    client = ready()
    client.pause()
    client.open(BLOCK, b"ask")
    client.receive(frames.frame(Kind.PING, 0, 0, bytes(8)))

    assert [kind for kind, *_ in sent(client)] == [Kind.HEADERS, Kind.PING]
    client.resume()
    assert [kind for kind, *_ in sent(client)] == [Kind.DATA]


def test_a_streams_window_opens_as_its_messages_are_read() -> None:
    client = calling()
    body = bytes(10_000)

    client.receive(response() + message(body) * 6)
    assert sent(client) == []
    for _ in range(4):
        client.read(1, 5 + len(body))

    assert sent(client) == [(Kind.WINDOW_UPDATE, 0, 1, (4 * 10_005).to_bytes(4, "big"))]


def test_nothing_but_reading_opens_a_streams_window() -> None:
    client = calling()
    client.receive(response() + message(bytes(16_000)) * 4)
    assert sent(client) == []

    ((_, item),) = client.receive(data(bytes(2_000)))

    assert isinstance(item, Status)
    assert "overran" in item.details


def test_a_message_longer_than_the_window_arrives() -> None:
    client, body = calling(), bytes(1_000_000)
    wire, window, events = prefixed(body), stream.WINDOW, client.receive(response())

    while wire:
        piece, wire = wire[: min(window, 16_384)], wire[min(window, 16_384) :]
        window -= len(piece)
        events += client.receive(data(piece))
        window += sum(int.from_bytes(f[3], "big") for f in sent(client) if f[2] == 1)

    assert events == [(1, body)]
    assert window < stream.WINDOW


def test_a_reader_that_is_slow_leaves_the_connection_open_to_others() -> None:
    client = calling()
    client.open(BLOCK, b"")
    client.data_to_send()
    client.receive(response(1) + response(3))
    given = 0

    for _ in range(endpoint.WINDOW // 16_000):
        client.receive(message(bytes(16_000), 3))
        client.read(3, 16_005)
        given += sum(int.from_bytes(f[3], "big") for f in sent(client) if f[2] == 0)

    assert given >= endpoint.WINDOW // 2


def test_no_more_streams_open_than_the_server_takes() -> None:
    client = ready((Setting.MAX_CONCURRENT_STREAMS, 2))
    client.open(BLOCK, b"")
    client.open(BLOCK, b"")
    assert not client.can_open

    client.receive(response(1) + trailers(1))

    assert client.can_open


def test_goaway_ends_what_was_not_heard_and_lets_the_rest_finish() -> None:
    client = calling()
    client.open(BLOCK, b"")

    events = client.receive(bytes.fromhex("000008 07 00 00000000 00000001 00000000"))

    assert events == [(3, Status(Code.UNAVAILABLE, "the server is going away"))]
    assert not client.can_open
    assert not client.is_over
    assert client.receive(response() + message(b"one") + trailers()) == [(1, b"one"), (1, OK)]
    assert client.is_over


def test_unknown_frames_settings_and_priorities_are_ignored() -> None:
    client = calling()
    wire = bytes.fromhex("000002 fa 00 00000001 0000000005 02 00 00000001 0000000010")
    wire += bytes.fromhex("000006 04 00 00000000 00aa 00000007")

    assert client.receive(wire + response() + message(b"one")) == [(1, b"one")]


PROTOCOL, SIZE, FLOW = (
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FRAME_SIZE_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
)
BREACHES = {
    "data on stream 0": ("000000 00 00 00000000", PROTOCOL),
    "data on a stream never opened": ("000000 00 00 00000003", PROTOCOL),
    "a stream of the server's": ("000001 01 04 00000002 88", PROTOCOL),
    "a push": ("000004 05 04 00000001 00000002", PROTOCOL),
    "an interrupted header block": ("000001 01 00 00000001 88 000000 00 00 00000001", PROTOCOL),
    "a continuation elsewhere": ("000001 01 00 00000001 88 000000 09 04 00000003", PROTOCOL),
    "a continuation of nothing": ("000000 09 04 00000001", PROTOCOL),
    "headers that cannot be read": ("000001 01 04 00000001 be", ErrorCode.COMPRESSION_ERROR),
    "a reset of nothing": ("000004 03 00 00000000 00000000", PROTOCOL),
    "a long reset": ("000005 03 00 00000001 0000000000", SIZE),
    "settings on a stream": ("000000 04 00 00000001", PROTOCOL),
    "settings of a broken length": ("000005 04 00 00000000 0000000000", SIZE),
    "an acknowledgement with settings": ("000006 04 01 00000000 000100000000", SIZE),
    "a window set too wide": ("000006 04 00 00000000 0004 80000000", FLOW),
    "a frame size too small": ("000006 04 00 00000000 0005 00003fff", PROTOCOL),
    "a frame size too large": ("000006 04 00 00000000 0005 01000000", PROTOCOL),
    "a ping on a stream": ("000008 06 00 00000001 0000000000000000", PROTOCOL),
    "a short ping": ("000007 06 00 00000000 00000000000000", SIZE),
    "goaway on a stream": ("000008 07 00 00000001 0000000000000000", PROTOCOL),
    "a short goaway": ("000007 07 00 00000000 00000000000000", SIZE),
    "a window update of nothing": ("000004 08 00 00000000 00000000", PROTOCOL),
    "a short window update": ("000003 08 00 00000001 000001", SIZE),
    "a window opened too far": ("000004 08 00 00000000 7fffffff", FLOW),
    "padding beyond the frame": ("000001 00 08 00000001 01", PROTOCOL),
    "a frame too long": ("004001 00 00 00000001", SIZE),
}


@pytest.mark.parametrize(("wire", "code"), BREACHES.values(), ids=BREACHES.keys())
def test_a_breach_ends_the_connection_with_its_reason(wire: str, code: ErrorCode) -> None:
    client = calling()

    with pytest.raises(ProtocolError) as caught:
        client.receive(bytes.fromhex(wire))

    assert caught.value.code == code
    ((kind, _, _, payload),) = sent(client)[-1:]
    assert (kind, payload[4:8]) == (Kind.GOAWAY, code.to_bytes(4, "big"))


def test_a_stream_window_opened_too_far_ends_only_its_call() -> None:
    ((_, item),) = calling().receive(frames.window_update(1, frames.MAX_WINDOW))

    assert isinstance(item, Status)
    assert "window" in item.details


def test_a_server_that_does_not_speak_http2_is_told_apart() -> None:
    with pytest.raises(ProtocolError):
        Connection().receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_a_header_block_without_end_is_refused() -> None:
    client = calling()
    part = frames.frame(Kind.CONTINUATION, 0, 1, bytes(16_000))
    client.receive(frames.frame(Kind.HEADERS, 0, 1, b""))

    with pytest.raises(ProtocolError) as caught:
        client.receive(part * (MAX_BLOCK_BYTES // 16_000 + 1))

    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM
