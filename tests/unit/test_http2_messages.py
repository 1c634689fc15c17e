"""gRPC messages, header blocks and statuses, below any connection."""

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from gateway.http2 import headers
from gateway.http2.frames import ErrorCode, ProtocolError
from gateway.http2.messages import MAX_MESSAGE_BYTES, MessageReader, prefixed
from gateway.http2.status import (
    Code,
    Status,
    StatusError,
    check_response,
    status_of_reset,
    status_of_trailers,
)
from tests.http2 import read_block


def test_a_message_has_a_flag_and_its_length_before_it() -> None:
    assert prefixed(b"abc") == b"\0\0\0\0\x03abc"


@given(st.lists(st.binary(max_size=50), max_size=6), st.integers(1, 30))
def test_messages_do_not_depend_on_how_the_data_is_cut(bodies: list[bytes], step: int) -> None:
    wire = b"".join(map(prefixed, bodies))
    reader = MessageReader()

    read = [m for at in range(0, len(wire), step) for m in reader.feed(wire[at : at + step])]

    assert read == bodies
    assert reader.is_between_messages


@pytest.mark.parametrize(
    "prefix",
    [b"\x01\0\0\0\x01", b"\0" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")],
    ids=["compressed", "too long"],
)
def test_a_message_that_cannot_be_taken_ends_its_call(prefix: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        list(MessageReader().feed(prefix + b"x"))

    assert caught.value.code == Code.INTERNAL


@given(st.lists(st.tuples(st.text("abc-", min_size=1), st.text(st.characters(max_codepoint=126)))))
def test_literals_are_what_hpack_reads(pairs: list[tuple[str, str]]) -> None:
    pairs += [("long", "x" * size) for size in (126, 127, 128, 512)]

    assert read_block(headers.literals(pairs)) == pairs


def test_a_call_begins_with_the_headers_of_grpc() -> None:
    block = headers.call_block("http", "host:8001", "/a.B/C")
    block += headers.literals([("x-request-id", "r1"), headers.timeout(1.5)])

    assert read_block(block) == [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a.B/C"),
        (":authority", "host:8001"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("x-request-id", "r1"),
        ("grpc-timeout", "1501m"),
    ]


def test_a_call_leaves_nothing_in_the_servers_table() -> None:
    decoder = Decoder()

    decoder.decode(headers.call_block("http", "host:8001", "/a.B/C"))

    assert (decoder.header_table_size, len(decoder.header_table.dynamic_entries)) == (0, 0)


@pytest.mark.parametrize(
    ("seconds", "value"),
    [(0.0004, "1m"), (99_999.9, "99999901m"), (100_000, "100000S"), (1e12, "99999999S")],
)
def test_a_timeout_has_eight_digits_at_most(seconds: float, value: str) -> None:
    assert headers.timeout(seconds) == ("grpc-timeout", value)


def test_headers_are_read_and_names_come_once() -> None:
    block = Encoder().encode([(":status", "200", True), ("a", "1", True), ("a", "2", True)])

    assert headers.decode(block) == {":status": "200", "a": "2"}


@pytest.mark.parametrize(
    "block",
    [b"\xbe", b"\x3f\xe1\x1f", b"\x40\x05ab", b"\x80", b"\x00\x01a\x81\x00"],
    ids=["dynamic index", "larger table", "truncated", "index 0", "bad huffman"],
)
def test_a_block_that_cannot_be_read_is_the_peers_fault(block: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        headers.decode(block)

    assert caught.value.code == ErrorCode.COMPRESSION_ERROR


@pytest.mark.parametrize(
    ("trailers", "status"),
    [
        ({"grpc-status": "0"}, Status(0)),
        ({"grpc-status": "14", "grpc-message": "50%25 of it%0A%C3%BC"}, Status(14, "50% of it\nü")),
        ({"grpc-status": "5", "grpc-message": "%zz%ff"}, Status(5, "%zz\N{REPLACEMENT CHARACTER}")),
        ({"grpc-status": "99"}, Status(Code.UNKNOWN)),
        ({"grpc-status": "²"}, Status(2, "the server ended the call without a status")),
        ({}, Status(2, "the server ended the call without a status")),
    ],
    ids=["ok", "escaped", "badly escaped", "unknown code", "not a number", "missing"],
)
def test_trailers_tell_the_status(trailers: dict[str, str], status: Status) -> None:
    assert status_of_trailers(trailers) == status


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, Code.INTERNAL), (7, Code.UNAVAILABLE), (8, Code.CANCELLED), (11, Code.RESOURCE_EXHAUSTED),
     (999, Code.INTERNAL)],
)  # fmt: skip
def test_a_reset_tells_the_status(code: int, status: Code) -> None:
    assert status_of_reset(code).code == status


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({":status": "503"}, Code.UNAVAILABLE),
        ({":status": "418"}, Code.UNKNOWN),
        ({}, Code.UNKNOWN),
        ({":status": "200", "content-type": "text/html"}, Code.UNKNOWN),
        ({":status": "200", "content-type": "application/grpc", "grpc-encoding": "gzip"}, 13),
    ],
    ids=["http status", "odd status", "none", "a page", "compressed"],
)
def test_what_is_not_a_grpc_response_is_told(fields: dict[str, str], code: int) -> None:
    with pytest.raises(StatusError) as caught:
        check_response(fields)

    assert caught.value.code == code
