"""Frames, as bytes on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http2 import frames
from gateway.http2.frames import ErrorCode, FrameReader, Kind, ProtocolError, Setting

PROTOCOL_ERROR = ErrorCode.PROTOCOL_ERROR
GOLDEN = [
    ("00000c 04 00 00000000 0001 00000000 0002 00000000",
     frames.settings([(Setting.HEADER_TABLE_SIZE, 0), (Setting.ENABLE_PUSH, 0)])),
    ("000000 04 01 00000000", frames.frame(Kind.SETTINGS, frames.ACK, 0)),
    ("000004 08 00 00000000 00ff0001", frames.window_update(0, 2**24 - 65535)),
    ("000004 03 00 00000005 00000008", frames.rst_stream(5, ErrorCode.CANCEL)),
    ("00000a 07 00 00000000 00000003 00000001 6279", frames.goaway(PROTOCOL_ERROR, "by", 3)),
    ("000003 01 04 00000001 828684", frames.headers(1, bytes.fromhex("828684"))),
    ("000003 00 01 00000003 616263", frames.frame(Kind.DATA, frames.END_STREAM, 3, b"abc")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wire", "made"),
    GOLDEN,
    ids=["settings", "ack", "window", "reset", "goaway", "headers", "data"],
)
def test_a_frame_is_these_bytes(wire: str, made: bytes) -> None:
    assert made == bytes.fromhex(wire)


def test_frames_are_read_back() -> None:
    wire = frames.rst_stream(7, ErrorCode.CANCEL) + frames.frame(Kind.DATA, 1, 9, b"xyz")

    assert list(FrameReader().feed(wire)) == [(3, 0, 7, b"\0\0\0\x08"), (0, 1, 9, b"xyz")]


def test_the_reserved_bit_of_a_stream_id_is_ignored() -> None:
    ((_, _, stream_id, _),) = FrameReader().feed(bytes.fromhex("000000 00 00 80000003"))

    assert stream_id == 3


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40))
def test_frames_do_not_depend_on_how_the_bytes_arrive(payloads: list[bytes], step: int) -> None:
    wire = b"".join(frames.frame(Kind.DATA, 0, 1, payload) for payload in payloads)
    reader = FrameReader()

    read = [f for at in range(0, len(wire), step) for f in reader.feed(wire[at : at + step])]

    assert [payload for _, _, _, payload in read] == payloads


def test_a_frame_longer_than_was_allowed_is_refused_before_it_is_held() -> None:
    with pytest.raises(ProtocolError) as caught:
        list(FrameReader().feed(bytes.fromhex("004001 00 00 00000001")))

    assert caught.value.code == ErrorCode.FRAME_SIZE_ERROR


def test_padding_and_priority_fields_are_cut_off() -> None:
    assert frames.unpadded(0, b"abc") == b"abc"
    assert frames.unpadded(frames.PADDED, b"\x02abc\0\0") == b"abc"
    flags = frames.PADDED | frames.PRIORITY_FIELDS
    assert frames.header_fragment(flags, b"\x01\0\0\0\0\x10abc\0") == b"abc"


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x04abc"], ids=["empty", "all", "beyond"])
def test_padding_beyond_its_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        frames.unpadded(frames.PADDED, payload)


def test_a_priority_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ProtocolError):
        frames.header_fragment(frames.PRIORITY_FIELDS, b"\0\0\0\0")


def test_a_long_header_block_goes_on_in_continuations() -> None:
    block = bytes(40_000)

    sent = list(FrameReader().feed(frames.headers(1, block)))

    assert [(kind, flags) for kind, flags, _, _ in sent] == [(1, 0), (9, 0), (9, 4)]
    assert b"".join(payload for _, _, _, payload in sent) == block
