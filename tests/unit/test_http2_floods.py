"""What one client may ask of a server at no cost to itself, frame by frame: counted, not timed."""

import random
import zlib
from collections.abc import Callable

import pytest
from hpack import Encoder

from gateway.http2 import frames
from gateway.http2.frames import (
    ACK,
    END_STREAM,
    PREFACE,
    ErrorCode,
    FrameReader,
    Kind,
    ProtocolError,
    Setting,
)
from gateway.http2.messages import prefixed
from gateway.http2.outbox import Outbox
from gateway.http2.parameters import MAX_SETTINGS
from gateway.http2.server.abandoned import MAX_KEPT, Abandoned
from gateway.http2.server.connection import ServerConnection
from gateway.http2.server.fields import MAX_BLOCK_BYTES, MAX_FIELDS_BYTES
from gateway.http2.server.messages import FREE_BYTES, MAX_RATIO
from gateway.http2.server.patience import (
    FRAMES_A_SETTLEMENT,
    FRAMES_PER_S,
    MAX_FRAMES,
    MAX_NUISANCES,
    NUISANCES_PER_S,
    SOON_S,
)
from gateway.http2.server.stream import ServerStream
from gateway.http2.server.streams import AT_ONCE, MAX_STREAMS, TURN, End, Event
from gateway.http2.status import Code, Status
from tests.http2 import CALL_HEADERS, block, data, message, read_block, request

MAX_MESSAGE = 1_000_000
OK = Status(Code.OK)
CANCEL = ErrorCode.CANCEL


class Clock:
    """Time that stands still until it is told to go on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def ready(clock: Clock | None = None, max_message: int = MAX_MESSAGE) -> ServerConnection:
    """Return a connection whose client has sent its preface and settings."""
    server = ServerConnection(max_message, clock or Clock())
    server.receive(PREFACE + frames.settings(()))
    server.data_to_send()
    return server


def receive(server: ServerConnection, wire: bytes) -> list[Event]:
    """Return what comes of bytes, turn by turn until all are handled."""
    events = server.receive(wire)
    while server.is_behind:
        events += server.receive(b"")
    return events


def opened(server: ServerConnection, stream_id: int = 1, *headers: tuple[str, str]) -> ServerStream:
    return receive(server, request(stream_id, *headers))[0][0]


def endings(server: ServerConnection) -> list[tuple[int, str]]:
    """Return the statuses that are sent, with their streams."""
    blocks = [frame for frame in FrameReader().feed(server.data_to_send()) if frame[0] == 1]
    told = [(id, dict(read_block(payload))) for _, _, id, payload in blocks]
    return [(id, headers["grpc-status"]) for id, headers in told if "grpc-status" in headers]


def headers(stream_id: int, block: bytes, flags: int = END_STREAM) -> bytes:
    return frames.headers(stream_id, block, flags)


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + (
        stream_id.to_bytes(4, "big") + payload
    )  # fmt: skip


def on_stream_1(wire: bytes) -> Callable[[int], bytes]:
    return lambda number: wire


def on_new_streams(make: Callable[[int], bytes]) -> Callable[[int], bytes]:
    return lambda number: make(2 * number + 101)


CALL = block(*CALL_HEADERS)
MOST = MAX_FRAMES + FRAMES_A_SETTLEMENT
FLOODS: dict[str, tuple[Callable[[int], bytes], int]] = {
    "WINDOW_UPDATE of the connection": (on_stream_1(frames.window_update(0, 1)), MOST),
    "WINDOW_UPDATE of a stream": (on_stream_1(frames.window_update(1, 1)), MOST),
    "WINDOW_UPDATE of a closed stream": (on_stream_1(frames.window_update(3, 1)), MOST),
    "PRIORITY": (on_stream_1(raw(2, 0, 1, bytes(5))), MOST),
    "PRIORITY of idle streams": (lambda n: raw(2, 0, 2 * n + 9, bytes(5)), MOST),
    "an unknown kind": (on_stream_1(raw(0xFA, 0, 0)), MOST),
    "PING, answered": (on_stream_1(frames.frame(Kind.PING, ACK, 0, bytes(8))), MOST),
    "PING": (on_stream_1(frames.frame(Kind.PING, 0, 0, bytes(8))), 4),
    "GOAWAY": (on_stream_1(raw(7, 0, 0, bytes(8))), MOST),
    "RST_STREAM of a closed stream": (on_stream_1(frames.rst_stream(3, CANCEL)), MOST),
    "SETTINGS": (on_stream_1(frames.settings(())), MAX_NUISANCES),
    "SETTINGS, acknowledged": (on_stream_1(raw(4, ACK, 0)), MAX_NUISANCES),
    "empty DATA": (on_stream_1(data(b"")), MAX_NUISANCES),
    "DATA that is all padding": (on_stream_1(data(b"\7" + bytes(7), flags=8)), MAX_NUISANCES),
    "DATA byte by byte": (on_stream_1(data(b"\0")), MOST),
    "empty DATA of a stream that we closed": (on_stream_1(data(b"", 3)), MOST),
    "HEADERS of a stream that we closed": (
        on_stream_1(headers(3, CALL, flags=0)),
        MAX_NUISANCES,
    ),
    "calls given up": (
        on_new_streams(lambda id: request(id) + frames.rst_stream(id, CANCEL)),
        MAX_NUISANCES,
    ),
    "calls that break HTTP": (on_new_streams(lambda id: headers(id, CALL[:9])), MAX_NUISANCES),
    "streams that we reset for DATA after their end": (
        on_new_streams(lambda id: request(id, flags=END_STREAM) + data(b"x", id)),
        MAX_NUISANCES,
    ),
    "streams that we reset for their windows": (
        on_new_streams(lambda id: request(id) + frames.window_update(id, 2**31 - 1)),
        MAX_NUISANCES,
    ),
    "calls with too much metadata": (
        on_new_streams(lambda id: headers(id, CALL + b"\x82" * 900)),
        MAX_NUISANCES // 14,
    ),
    "calls with many messages": (on_stream_1(message(b"") * 100), MOST // 99 + 1),
}


@pytest.mark.parametrize(("wire", "most"), FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_ends_its_connection(wire: Callable[[int], bytes], most: int) -> None:
    server = ready()
    opened(server)
    server.cut(opened(server, 3), OK)
    num_taken = 0

    with pytest.raises(ProtocolError) as caught:
        while num_taken <= most:
            receive(server, wire(num_taken))
            server.data_to_send()
            num_taken += 1

    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM
    assert num_taken <= most


@pytest.mark.parametrize(
    "wire",
    [data(b"", 3), headers(3, b"\x82" * 1500), headers(3, CALL)],
    ids=["empty DATA", "many headers", "headers"],
)
def test_the_first_frame_of_a_closed_stream_ends_its_connection(wire: bytes) -> None:
    server = ready()
    receive(server, request(1) + request(3) + frames.rst_stream(3, CANCEL))

    with pytest.raises(ProtocolError) as caught:
        receive(server, wire)

    assert caught.value.code == ErrorCode.STREAM_CLOSED


def test_a_frame_has_so_many_settings_and_no_more() -> None:
    server = ready()
    allowed = frames.settings([(Setting.INITIAL_WINDOW_SIZE, 1)] * MAX_SETTINGS)
    receive(server, allowed)

    with pytest.raises(ProtocolError) as caught:
        receive(server, frames.settings([(Setting.INITIAL_WINDOW_SIZE, 1)] * 2730))

    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_settings_that_change_the_windows_of_many_streams_are_paid_for_by_the_stream() -> None:
    server, num_taken = ready(), 0
    for number in range(MAX_STREAMS):
        opened(server, 2 * number + 1)

    with pytest.raises(ProtocolError):
        for num_taken in range(MAX_NUISANCES):
            receive(server, frames.settings([(Setting.INITIAL_WINDOW_SIZE, num_taken)]))

    assert num_taken < 40


def test_a_window_opened_byte_by_byte_tries_no_stream_beyond_it() -> None:
    tries: list[int] = []

    class Body:
        """A body that notes when it is looked at."""

        def __init__(self, id: int) -> None:
            self.id, self.send_window = id, 2**20
            self._body = memoryview(bytes(1000))

        @property
        def body(self) -> memoryview:
            tries.append(self.id)
            return self._body

        @body.setter
        def body(self, left: memoryview) -> None:
            self._body = left

    outbox: Outbox[Body] = Outbox()
    for id in range(MAX_STREAMS):
        outbox.add_body(id, Body(id))
    outbox.take()
    tries.clear()

    outbox.widen(1)
    outbox.take()

    assert len(set(tries)) == 1


def test_honest_clients_have_no_end_of_frames() -> None:
    clock = Clock()
    server = ready(clock)
    stream = opened(server)

    for _ in range(3 * MAX_FRAMES):
        server.send(stream, b"token")
        receive(server, frames.window_update(1, 10) + frames.window_update(0, 10))
        receive(server, frames.frame(Kind.PING, 0, 0, bytes(8)))
        server.data_to_send()


def test_a_trickle_of_frames_may_go_on_for_ever() -> None:
    clock = Clock()
    server = ready(clock)

    for _ in range(2 * MAX_FRAMES):
        clock.now += 1.01 / FRAMES_PER_S
        receive(server, raw(0xFA, 0, 0))


def test_work_ends_with_its_turn_and_goes_on_in_the_next() -> None:
    server = ready()
    server.max_work = TURN
    wire = raw(0xFA, 0, 0) * (2 * TURN + 1) + request()

    first, second, third = (server.receive(given) for given in (wire, b"", b""))

    assert (first, second, len(third)) == ([], [], 1)
    assert not server.is_behind


def test_a_turn_is_shorter_where_frames_cost_more() -> None:
    server, encoder = ready(), Encoder()
    calls = b"".join(headers(id, encoder.encode(CALL_HEADERS)) for id in range(1, 201, 2))

    events = server.receive(calls)

    assert 1 < len(events) // 2 < AT_ONCE // 10
    assert len(events + receive(server, b"")) == 200


# Metadata.


def test_much_metadata_costs_its_call_and_no_other() -> None:
    server, encoder = ready(), Encoder()
    other = opened(server)
    much = encoder.encode([*CALL_HEADERS, ("x-kept", "1"), ("x-much", "x" * 40_000)])
    after = encoder.encode([*CALL_HEADERS, ("x-kept", "1")])

    refused = receive(server, headers(3, much))
    server.send(other, b"goes on")
    [(_, asked), _] = receive(server, headers(5, after))

    assert [item for _, item in refused] == [End.GONE]
    assert getattr(asked, "headers", [])[-1] == ("x-kept", "1")
    assert endings(server) == [(3, "8")]


@pytest.mark.parametrize("is_coded", [True, False], ids=["huffman", "plain"])
@pytest.mark.parametrize("is_kept", [True, False], ids=["for the table", "not for the table"])
@pytest.mark.parametrize("size", [MAX_FIELDS_BYTES, 100_000, MAX_BLOCK_BYTES * 3 // 4])
def test_headers_that_are_not_kept_leave_the_table_as_it_should_be(
    size: int, is_kept: bool, is_coded: bool
) -> None:
    server, encoder = ready(), Encoder()
    long = [(f"x-{number}", "0123456789" * 100, not is_kept) for number in range(size // 1000)]
    first = encoder.encode([*CALL_HEADERS, *long, ("x-last", "1", False)], huffman=is_coded)
    second = encoder.encode([*CALL_HEADERS, ("x-last", "1", False)], huffman=is_coded)

    receive(server, headers(1, first))
    [(_, asked), _] = receive(server, headers(3, second))

    assert getattr(asked, "headers", [])[-1] == ("x-last", "1")
    assert endings(server) == [(1, "8")]


@pytest.mark.parametrize(
    "block",
    [CALL + b"\0\1x\x7f\xff\xff\x0f" + bytes(2**18), CALL + b"\x82" * 1001],
    ids=["bytes", "fields"],
)
def test_metadata_beyond_all_measure_ends_the_connection(block: bytes) -> None:
    server = ready()

    with pytest.raises(ProtocolError) as caught:
        receive(server, headers(1, block))

    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_what_a_client_is_told_of_its_error_is_short() -> None:
    server = ready()

    with pytest.raises(ProtocolError) as caught:
        receive(server, headers(1, b"\xbe" + b"A" * 16_000))

    assert str(caught.value) == "headers that cannot be read"
    assert len(server.data_to_send()) < 60


# Calls given up.


def test_calls_that_were_answered_may_be_given_up_at_any_rate() -> None:
    server = ready()
    other = opened(server)

    for number in range(2 * MAX_NUISANCES):
        id = 2 * number + 3
        server.begin(opened(server, id), ())
        receive(server, frames.rst_stream(id, CANCEL))
        server.data_to_send()

    assert server.is_open(other)


def test_1400_calls_cancelled_in_5_seconds_leave_their_connection_alone() -> None:
    clock = Clock()
    server = ready(clock)

    for number in range(1400):
        clock.now += 5 / 1400
        receive(server, request(2 * number + 1) + frames.rst_stream(2 * number + 1, CANCEL))


def test_calls_that_ran_for_a_while_are_given_up_at_an_eighth() -> None:
    clock = Clock()
    server = ready(clock)

    for number in range(8):
        ids = range(2 * number * 450 + 1, 2 * (number + 1) * 450, 2)
        for id in ids:
            opened(server, id)
        clock.now += 2 * SOON_S
        for id in ids:
            receive(server, frames.rst_stream(id, CANCEL))


def test_deadlines_that_are_over_at_once_are_paid_for() -> None:
    server, num_taken = ready(), 0

    with pytest.raises(ProtocolError):
        for num_taken in range(20_000):
            stream = opened(server, 2 * num_taken + 1, ("grpc-timeout", "1n"))
            server.expire(stream, Status(Code.DEADLINE_EXCEEDED))
            server.data_to_send()

    assert num_taken < MAX_NUISANCES


def test_the_streams_we_closed_are_remembered_for_a_while() -> None:
    abandoned = Abandoned()

    for stream_id in range(2 * MAX_KEPT):
        abandoned.add(stream_id)

    assert MAX_KEPT in abandoned and MAX_KEPT - 1 not in abandoned


def test_nuisances_are_forgiven_with_time() -> None:
    clock = Clock()
    server = ready(clock)

    for number in range(2 * MAX_NUISANCES):
        clock.now += 1.01 / NUISANCES_PER_S
        receive(server, request(2 * number + 1) + frames.rst_stream(2 * number + 1, CANCEL))


# Compressed messages.


def gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS + 16)
    return b"\1" + prefixed(packer.compress(body) + packer.flush())[1:]


def told(server: ServerConnection, wire: bytes) -> list[object]:
    """Return what comes of a call whose data arrives in small pieces."""
    items: list[object] = []
    items += [item for _, item in receive(server, request(1, ("grpc-encoding", "gzip")))]
    for at in range(0, len(wire), 1000):
        items += [item for _, item in receive(server, data(wire[at : at + 1000]))]
        if End.GONE in items:
            break
    return items[1:]


@pytest.mark.parametrize("size", [0, 1, FREE_BYTES, 2 * FREE_BYTES])
def test_what_is_compressed_arrives_piece_by_piece(size: int) -> None:
    body = random.Random(size).randbytes(size)

    items = told(ready(max_message=2**24), gzip(body) + gzip(b"and another"))

    assert items == [body, b"and another"]


def test_what_grows_too_much_is_refused_before_it_has_grown() -> None:
    server = ready(max_message=2**24)
    bomb = gzip(bytes(2**24 - 100))

    assert told(server, bomb) == [End.GONE]

    assert server.num_held == 0
    assert endings(server) == [(1, "8")]


def test_what_may_be_held_of_a_message_follows_what_was_sent_of_it() -> None:
    server = ready(max_message=2**24)
    receive(server, request(1, ("grpc-encoding", "gzip")))

    for at in range(5, 20_000, 1000):
        receive(server, data(gzip(bytes(2**24))[at - 5 : at + 995]))
        assert server.num_held <= FREE_BYTES + MAX_RATIO * at + 1000


def _followed(packed: bytes, rest: bytes) -> bytes:
    return b"\1" + prefixed(packed[5:] + rest)[1:]


@pytest.mark.parametrize(
    "broken",
    [
        b"\1\0\0\0\3abc",
        gzip(b"abc")[:-6] + b"\0" * 6,
        _followed(gzip(b"abc"), b"more"),
    ],
    ids=["no gzip", "a wrong sum", "something after it"],
)
def test_what_is_no_gzip_is_refused(broken: bytes) -> None:
    server = ready()

    assert told(server, broken) == [End.GONE]
    assert endings(server) == [(1, "13")]
