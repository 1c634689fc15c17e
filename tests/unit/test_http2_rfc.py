"""The musts of RFC 9113 and RFC 7541 for a server, by section: what breaks one, and what follows.

The cases are those that conformance suites of HTTP/2 try. A server may answer the breach of a
stream by ending its connection; ours does so only where the RFC has it so, as others are on it.
"""

from typing import NamedTuple

import pytest
from hpack import Encoder

from gateway.http2 import frames
from gateway.http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    MAX_WINDOW,
    PADDED,
    PREFACE,
    PRIORITY_FIELDS,
    ErrorCode,
    FrameReader,
    Kind,
    ProtocolError,
    Setting,
)
from gateway.http2.messages import prefixed
from gateway.http2.server.connection import ServerConnection
from gateway.http2.server.streams import MAX_STREAMS
from tests.http2 import CALL_HEADERS, block, data, message, request

MAX_MESSAGE = 100_000
SETTINGS = frames.settings(())
DONE = request() + data(prefixed(b"x"), flags=END_STREAM)
CALL = block(*CALL_HEADERS)
RST = frames.rst_stream(1, ErrorCode.CANCEL)


class Ends(NamedTuple):
    """The connection ends, for this reason."""

    code: ErrorCode


class Resets(NamedTuple):
    """The stream is reset, for this reason, and others go on."""

    code: ErrorCode
    stream_id: int = 1


class Fine(NamedTuple):
    """Nothing is amiss, and so many calls have come."""

    num_calls: int = 0


def head(*fields: tuple[str, str], flags: int = END_HEADERS | END_STREAM, id: int = 1) -> bytes:
    return frames.frame(Kind.HEADERS, flags, id, block(*fields))


def call_with(*fields: tuple[str, str]) -> bytes:
    return head(*CALL_HEADERS, *fields)


def call_without(name: str, *fields: tuple[str, str]) -> bytes:
    return head(*fields, *(pair for pair in CALL_HEADERS if pair[0] != name))


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + (
        stream_id.to_bytes(4, "big") + payload
    )  # fmt: skip


def coded(*fragments: bytes) -> bytes:
    """Return a call's HEADERS with these bytes of HPACK after its usual ones."""
    return frames.frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, CALL + b"".join(fragments))


def told(setting: int, value: int) -> bytes:
    return raw(Kind.SETTINGS, 0, 0, setting.to_bytes(2, "big") + value.to_bytes(4, "big"))


def priority(parent: int, stream_id: int = 1) -> bytes:
    return raw(Kind.PRIORITY, 0, stream_id, parent.to_bytes(4, "big") + b"\x10")


PROTOCOL = ErrorCode.PROTOCOL_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
SIZE = ErrorCode.FRAME_SIZE_ERROR
CLOSED = ErrorCode.STREAM_CLOSED
COMPRESSION = ErrorCode.COMPRESSION_ERROR
WIDE = 2**31

CASES = {
    "4.1 an unknown frame is ignored": (raw(0x16, 0xFF, 0, bytes(8)) + DONE, Fine(1)),
    "4.1 unknown flags are ignored": (raw(Kind.PING, 0x16, 0, bytes(8)) + DONE, Fine(1)),
    "4.1 the reserved bit is ignored": (raw(Kind.PING, 0, WIDE, bytes(8)) + DONE, Fine(1)),
    "4.2 a frame of 2^14 bytes": (request() + data(bytes(5) * 3276 + bytes(4)), Fine(1)),
    "4.2 a DATA frame too long": (request() + data(bytes(2**14 + 1)), Ends(SIZE)),
    "4.2 a HEADERS frame too long": (raw(Kind.HEADERS, 4, 1, bytes(2**14 + 1)), Ends(SIZE)),
    "4.3 a block that is no HPACK": (raw(Kind.HEADERS, 5, 1, b"\xff"), Ends(COMPRESSION)),
    "4.3 PRIORITY within a block": (
        frames.frame(Kind.HEADERS, 0, 1, CALL) + priority(0, 3),
        Ends(PROTOCOL),
    ),
    "4.3 HEADERS of another stream within a block": (
        frames.frame(Kind.HEADERS, 0, 1, CALL) + request(3),
        Ends(PROTOCOL),
    ),
    "4.3 an unknown frame within a block": (
        frames.frame(Kind.HEADERS, 0, 1, CALL) + raw(0x16, 0, 0),
        Ends(PROTOCOL),
    ),
    "5.1 idle: DATA": (data(b"x"), Ends(PROTOCOL)),
    "5.1 idle: RST_STREAM": (RST, Ends(PROTOCOL)),
    "5.1 idle: WINDOW_UPDATE": (frames.window_update(1, 100), Ends(PROTOCOL)),
    "5.1 idle: CONTINUATION": (raw(Kind.CONTINUATION, END_HEADERS, 1, CALL), Ends(PROTOCOL)),
    "5.1 idle: PRIORITY": (priority(0) + DONE, Fine(1)),
    "5.1 half-closed: DATA": (DONE + data(b"x"), Resets(CLOSED)),
    "5.1 half-closed: HEADERS": (DONE + head(("a", "b")), Resets(CLOSED)),
    "5.1 half-closed: CONTINUATION": (DONE + raw(Kind.CONTINUATION, 4, 1), Ends(PROTOCOL)),
    "5.1 half-closed: WINDOW_UPDATE": (DONE + frames.window_update(1, 1), Fine(1)),
    "5.1 half-closed: PRIORITY": (DONE + priority(0), Fine(1)),
    "5.1 closed by a reset: DATA": (request() + RST + data(b"x"), Ends(CLOSED)),
    "5.1 closed by a reset: HEADERS": (request() + RST + head(("a", "b")), Ends(CLOSED)),
    "5.1 closed by a reset: RST_STREAM": (request() + RST + RST, Fine(1)),
    "5.1 closed by a reset: WINDOW_UPDATE": (
        request() + RST + frames.window_update(1, 1),
        Fine(1),
    ),
    "5.1 closed by a reset: PRIORITY": (request() + RST + priority(0), Fine(1)),
    "5.1.1 an even stream": (request(2), Ends(PROTOCOL)),
    "5.1.1 stream 0": (request(0), Ends(PROTOCOL)),
    "5.1.1 a stream lower than one before": (request(5) + request(3), Ends(PROTOCOL)),
    "5.1.2 more streams than allowed": (
        b"".join(request(id) for id in range(1, 2 * MAX_STREAMS + 2, 2)),
        Resets(ErrorCode.REFUSED_STREAM, 2 * MAX_STREAMS + 1),
    ),
    "5.3.1 HEADERS that depend on themselves": (
        raw(Kind.HEADERS, END_HEADERS | END_STREAM | PRIORITY_FIELDS, 1, b"\0\0\0\1\x10" + CALL),
        Resets(PROTOCOL),
    ),
    "5.3.1 PRIORITY that depends on itself": (request() + priority(1), Resets(PROTOCOL)),
    "5.5 an unknown setting is ignored": (told(0x99, 7) + DONE, Fine(1)),
    "6.1 DATA on stream 0": (data(b"x", 0), Ends(PROTOCOL)),
    "6.1 DATA with padding": (request() + data(b"\1" + prefixed(b"x") + b"\0", flags=9), Fine(1)),
    "6.1 padding as long as the frame": (request() + data(b"\1", flags=PADDED), Ends(PROTOCOL)),
    "6.2 HEADERS with priority": (
        raw(Kind.HEADERS, END_HEADERS | PRIORITY_FIELDS, 1, b"\0\0\0\0\x10" + CALL),
        Fine(1),
    ),
    "6.2 HEADERS with padding": (raw(Kind.HEADERS, 0xC, 1, b"\2" + CALL + b"\0\0"), Fine(1)),
    "6.2 padding longer than the frame": (
        raw(Kind.HEADERS, END_HEADERS | PADDED, 1, b"\xff" + CALL[:20]),
        Ends(PROTOCOL),
    ),
    "6.3 PRIORITY on stream 0": (priority(1, 0), Ends(PROTOCOL)),
    "6.3 PRIORITY of 4 bytes": (request() + raw(Kind.PRIORITY, 0, 1, bytes(4)), Resets(SIZE)),
    "6.4 RST_STREAM on stream 0": (frames.rst_stream(0, ErrorCode.CANCEL), Ends(PROTOCOL)),
    "6.4 RST_STREAM of 3 bytes": (request() + raw(Kind.RST_STREAM, 0, 1, bytes(3)), Ends(SIZE)),
    "6.5 SETTINGS on a stream": (raw(Kind.SETTINGS, 0, 1), Ends(PROTOCOL)),
    "6.5 SETTINGS of 3 bytes": (raw(Kind.SETTINGS, 0, 0, bytes(3)), Ends(SIZE)),
    "6.5 an acknowledgement with settings": (raw(Kind.SETTINGS, ACK, 0, bytes(6)), Ends(SIZE)),
    "6.5.2 ENABLE_PUSH of 2": (told(Setting.ENABLE_PUSH, 2), Ends(PROTOCOL)),
    "6.5.2 a window of 2^31": (told(Setting.INITIAL_WINDOW_SIZE, WIDE), Ends(FLOW)),
    "6.5.2 frames too small": (told(Setting.MAX_FRAME_SIZE, 2**14 - 1), Ends(PROTOCOL)),
    "6.5.2 frames too large": (told(Setting.MAX_FRAME_SIZE, 2**24), Ends(PROTOCOL)),
    "6.6 a push": (raw(Kind.PUSH_PROMISE, END_HEADERS, 1, bytes(4) + CALL), Ends(PROTOCOL)),
    "6.7 PING on a stream": (raw(Kind.PING, 0, 1, bytes(8)), Ends(PROTOCOL)),
    "6.7 PING of 6 bytes": (raw(Kind.PING, 0, 0, bytes(6)), Ends(SIZE)),
    "6.8 GOAWAY on a stream": (raw(Kind.GOAWAY, 0, 1, bytes(8)), Ends(PROTOCOL)),
    "6.8 calls after a GOAWAY": (raw(Kind.GOAWAY, 0, 0, bytes(8)) + DONE, Fine(1)),
    "6.9 WINDOW_UPDATE of 0": (frames.window_update(0, 0), Ends(PROTOCOL)),
    "6.9 WINDOW_UPDATE of 0 on a stream": (
        request() + frames.window_update(1, 0),
        Resets(PROTOCOL),
    ),
    "6.9 WINDOW_UPDATE of 3 bytes": (raw(Kind.WINDOW_UPDATE, 0, 0, bytes(3)), Ends(SIZE)),
    "6.9.1 a window too wide": (frames.window_update(0, MAX_WINDOW), Ends(FLOW)),
    "6.9.1 a stream's window too wide": (
        request() + frames.window_update(1, MAX_WINDOW),
        Resets(FLOW),
    ),
    "6.9.2 settings that make a stream's window too wide": (
        request() + frames.window_update(1, 2**16) + told(4, MAX_WINDOW),
        Ends(FLOW),
    ),
    "6.10 CONTINUATION": (
        frames.frame(Kind.HEADERS, END_STREAM, 1, CALL[:9])
        + raw(Kind.CONTINUATION, 0, 1, CALL[9:30])
        + raw(Kind.CONTINUATION, END_HEADERS, 1, CALL[30:]),
        Fine(1),
    ),
    "6.10 CONTINUATION on stream 0": (
        frames.frame(Kind.HEADERS, 0, 1, CALL) + raw(Kind.CONTINUATION, 4, 0),
        Ends(PROTOCOL),
    ),
    "6.10 CONTINUATION after the end": (request() + raw(9, END_HEADERS, 1), Ends(PROTOCOL)),
    "6.10 CONTINUATION after DATA": (DONE + raw(9, END_HEADERS, 1), Ends(PROTOCOL)),
    "7 unknown codes of errors": (
        request() + raw(Kind.RST_STREAM, 0, 1, b"\0\0\0\xff") + request(3),
        Fine(2),
    ),
    "8.1 HEADERS again without an end": (
        request() + head(("a", "b"), flags=END_HEADERS),
        Resets(PROTOCOL),
    ),
    "8.1 trailers": (request() + message(b"x") + head(("a", "b")), Fine(1)),
    "8.1 pseudo-headers in trailers": (request() + head((":method", "POST")), Resets(PROTOCOL)),
    "8.1 a broken name in trailers": (request() + head(("A", "b")), Resets(PROTOCOL)),
    "8.1.1 content-length and no content": (call_with(("content-length", "1")), Resets(PROTOCOL)),
    "8.1.1 content-length too short": (
        request(1, ("content-length", "5")) + message(b"x"),
        Resets(PROTOCOL),
    ),
    "8.1.1 content-length too long": (
        request(1, ("content-length", "7")) + data(prefixed(b"x"), flags=END_STREAM),
        Resets(PROTOCOL),
    ),
    "8.1.1 content-length too long, with trailers": (
        request(1, ("content-length", "7")) + message(b"x") + head(("a", "b")),
        Resets(PROTOCOL),
    ),
    "8.1.1 content-length of several frames": (
        request(1, ("content-length", "6")) + data(b"\0\0") + data(b"\0\0\1x", flags=END_STREAM),
        Fine(1),
    ),
    "8.1.1 content-length twice": (
        call_with(("content-length", "0"), ("content-length", "1")),
        Resets(PROTOCOL),
    ),
    "8.1.1 content-length that is no number": (
        call_with(("content-length", "+5")),
        Resets(PROTOCOL),
    ),
    "8.2.1 capitals": (call_with(("X-Mine", "1")), Resets(PROTOCOL)),
    "8.2.1 a space in a name": (call_with(("x mine", "1")), Resets(PROTOCOL)),
    "8.2.1 a colon in a name": (call_with(("x:mine", "1")), Resets(PROTOCOL)),
    "8.2.1 a control character in a name": (call_with(("x\x01", "1")), Resets(PROTOCOL)),
    "8.2.1 a name that is not ASCII": (call_with(("x\xe9", "1")), Resets(PROTOCOL)),
    "8.2.1 a newline in a name": (call_with(("x\n", "1")), Resets(PROTOCOL)),
    "8.2.1 an empty name": (call_with(("", "1")), Resets(PROTOCOL)),
    "8.2.1 CR in a value": (call_with(("x", "a\rb")), Resets(PROTOCOL)),
    "8.2.1 LF in a value": (call_with(("x", "a\nb")), Resets(PROTOCOL)),
    "8.2.1 LF at the end of a value": (call_with(("x", "a\n")), Resets(PROTOCOL)),
    "8.2.1 NUL in a value": (call_with(("x", "a\0b")), Resets(PROTOCOL)),
    "8.2.1 a control character in a value": (call_with(("x", "a\x1b[31m")), Resets(PROTOCOL)),
    "8.2.1 a space before a value": (call_with(("x", " a")), Resets(PROTOCOL)),
    "8.2.1 a tab after a value": (call_with(("x", "a\t")), Resets(PROTOCOL)),
    "8.2.1 a tab, an empty value, beyond ASCII": (
        call_with(("x", "a\tb"), ("y", ""), ("z", "\xe9")),
        Fine(1),
    ),
    "8.2.2 connection": (call_with(("connection", "keep-alive")), Resets(PROTOCOL)),
    "8.2.2 proxy-connection": (call_with(("proxy-connection", "close")), Resets(PROTOCOL)),
    "8.2.2 keep-alive": (call_with(("keep-alive", "5")), Resets(PROTOCOL)),
    "8.2.2 transfer-encoding": (call_with(("transfer-encoding", "chunked")), Resets(PROTOCOL)),
    "8.2.2 upgrade": (call_with(("upgrade", "h2c")), Resets(PROTOCOL)),
    "8.2.2 te other than trailers": (
        call_without("te", *CALL_HEADERS[:5], ("te", "trailers, deflate")),
        Resets(PROTOCOL),
    ),
    "8.3 an unknown pseudo-header": (head((":test", "1"), *CALL_HEADERS), Resets(PROTOCOL)),
    "8.3 a pseudo-header of answers": (head((":status", "200"), *CALL_HEADERS), Resets(PROTOCOL)),
    "8.3 a pseudo-header after others": (
        head(*CALL_HEADERS[1:], CALL_HEADERS[0]),
        Resets(PROTOCOL),
    ),
    "8.3.1 no :method": (call_without(":method"), Resets(PROTOCOL)),
    "8.3.1 no :scheme": (call_without(":scheme"), Resets(PROTOCOL)),
    "8.3.1 no :path": (call_without(":path"), Resets(PROTOCOL)),
    "8.3.1 an empty :path": (call_without(":path", (":path", "")), Resets(PROTOCOL)),
    "8.3.1 a :path that is none": (call_without(":path", (":path", "a.B/C")), Resets(PROTOCOL)),
    "8.3.1 :method twice": (head(CALL_HEADERS[0], *CALL_HEADERS), Resets(PROTOCOL)),
    "8.3.1 :scheme twice": (head(CALL_HEADERS[1], *CALL_HEADERS), Resets(PROTOCOL)),
    "8.3.1 :path twice": (head(CALL_HEADERS[2], *CALL_HEADERS), Resets(PROTOCOL)),
    "8.3.1 a host that is another": (call_with(("host", "there")), Resets(PROTOCOL)),
    "8.3.1 the same host": (call_with(("host", "here")), Fine(1)),
    "hpack 2.3.3 an index beyond the tables": (coded(b"\xc6"), Ends(COMPRESSION)),
    "hpack 4.2 a table resized within a block": (coded(b"\x20"), Ends(COMPRESSION)),
    "hpack 4.2 a table resized before a block": (
        raw(Kind.HEADERS, 5, 1, b"\x20\x3f\xe1\x1f" + CALL),
        Fine(1),
    ),
    "hpack 5.1 a number without an end": (coded(b"\xff" + b"\x80" * 9), Ends(COMPRESSION)),
    "hpack 5.2 padding of a byte": (coded(b"\0\1a\x84\x49\x50\x9f\xff"), Ends(COMPRESSION)),
    "hpack 5.2 padding of zeros": (coded(b"\0\1a\x83\x49\x50\x90"), Ends(COMPRESSION)),
    "hpack 5.2 the end of strings": (coded(b"\0\x84\xff\xff\xff\xff\1x"), Ends(COMPRESSION)),
    "hpack 5.2 a string beyond its block": (coded(b"\0\x05abc"), Ends(COMPRESSION)),
    "hpack 6.1 index 0": (coded(b"\x80"), Ends(COMPRESSION)),
    "hpack 6.3 a table too large": (raw(1, 5, 1, b"\x3f\xe2\x1f" + CALL), Ends(COMPRESSION)),
}  # fmt: skip


def outcome(server: ServerConnection, wire: bytes) -> Ends | Resets | Fine:
    """Return what comes of bytes, taken turn by turn."""
    calls: set[object] = set()
    try:
        calls |= {stream for stream, _ in server.receive(wire)}
        while server.is_behind:
            calls |= {stream for stream, _ in server.receive(b"")}
    except ProtocolError as error:
        goaway = list(FrameReader().feed(server.data_to_send()))[-1]
        assert (goaway[0], goaway[3][4:8]) == (Kind.GOAWAY, error.code.to_bytes(4, "big"))
        return Ends(error.code)
    for kind, _, stream_id, payload in FrameReader().feed(server.data_to_send()):
        if kind == Kind.RST_STREAM:
            return Resets(ErrorCode(frames.uint32(payload)), stream_id)
    return Fine(len(calls))


@pytest.mark.parametrize(("wire", "expected"), CASES.values(), ids=CASES.keys())
def test_a_must_of_the_rfc_holds(wire: bytes, expected: Ends | Resets | Fine) -> None:
    server = ServerConnection(MAX_MESSAGE)
    server.receive(PREFACE + SETTINGS)
    server.data_to_send()

    assert outcome(server, wire) == expected

    if isinstance(expected, Resets):
        assert outcome(server, _elsewhere()) != Ends(PROTOCOL), "others go on"


def _elsewhere() -> bytes:
    return frames.frame(Kind.PING, 0, 0, bytes(8))


@pytest.mark.parametrize(
    "wire",
    [PREFACE + request(), PREFACE + raw(0x16, 0, 0), PREFACE + raw(Kind.SETTINGS, ACK, 0) + DONE],
    ids=["3.4 a call first", "3.4 an unknown frame first", "3.4 an acknowledgement first"],
)
def test_a_beginning_that_is_none_ends_the_connection(wire: bytes) -> None:
    assert outcome(ServerConnection(MAX_MESSAGE), wire) == Ends(PROTOCOL)


def test_3_4_a_preface_that_is_none_ends_the_connection() -> None:
    with pytest.raises(ProtocolError):
        ServerConnection(MAX_MESSAGE).receive(b"INVALID PREFACE\r\n\r\n" + SETTINGS)


def test_6_5_3_settings_are_acknowledged_and_applied_in_order() -> None:
    server = ServerConnection(MAX_MESSAGE)
    narrow, wide = ((Setting.INITIAL_WINDOW_SIZE, size) for size in (1, 100))
    server.receive(PREFACE + frames.settings([narrow, wide]))
    [(stream, _)] = server.receive(request())
    server.data_to_send()

    assert server.send(stream, bytes(95))
    assert not server.send(stream, b"")


def test_6_9_2_a_window_may_be_below_zero() -> None:
    server = ServerConnection(MAX_MESSAGE)
    server.receive(PREFACE + told(4, 3))
    [(stream, _)] = server.receive(request())
    server.send(stream, b"")
    server.data_to_send()
    server.receive(told(4, 2))

    server.receive(frames.window_update(1, 1))
    waits = list(FrameReader().feed(server.data_to_send()))
    server.receive(frames.window_update(1, 1))

    assert [frame for frame in waits if frame[0] == Kind.DATA] == []
    [(_, _, _, sent)] = FrameReader().feed(server.data_to_send())
    assert len(sent) == 1


def test_5_1_what_crossed_our_reset_is_ignored_and_its_headers_are_read() -> None:
    server, encoder = ServerConnection(MAX_MESSAGE), Encoder()
    server.receive(PREFACE + SETTINGS + request() + data(b"\7" * 9))

    crossed = encoder.encode([("x-new", "value")])
    wire = data(b"more") + frames.frame(Kind.HEADERS, END_HEADERS | END_STREAM, 1, crossed)
    known = encoder.encode([*CALL_HEADERS, ("x-new", "value")])
    wire += frames.frame(Kind.HEADERS, END_HEADERS, 3, known)
    [(_, asked)] = server.receive(wire)

    assert getattr(asked, "headers", [])[-1] == ("x-new", "value")
    assert outcome(server, data(b"after its end")) == Ends(CLOSED)
