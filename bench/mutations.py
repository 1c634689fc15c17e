"""What can go wrong with a frame: bytes flipped, cut, filled, sent elsewhere, sent again."""

import random
from collections.abc import Callable

from gateway.http2 import frames


def _flip(rng: random.Random, wire: bytes) -> bytes:
    at = rng.randrange(len(wire))
    return wire[:at] + bytes([wire[at] ^ 1 << rng.randrange(8)]) + wire[at + 1 :]


def _flip_payload(rng: random.Random, wire: bytes) -> bytes:
    head = frames.HEADER_BYTES
    return wire[:head] + _flip(rng, wire[head:]) if len(wire) > head else wire + b"\0"


def _truncate(rng: random.Random, wire: bytes) -> bytes:
    return wire[: rng.randrange(len(wire))]


def _cut_payload(rng: random.Random, wire: bytes) -> bytes:
    payload = wire[frames.HEADER_BYTES :]
    return _reframe(wire, payload[: rng.randrange(len(payload) + 1)])


def _fill(rng: random.Random, wire: bytes) -> bytes:
    return _reframe(wire, rng.randbytes(rng.choice((0, 1, 4, 5, 6, 8, 64, 4000, 16_384))))


def _reframe(wire: bytes, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + wire[3 : frames.HEADER_BYTES] + payload


def _kind(rng: random.Random, wire: bytes) -> bytes:
    return wire[:3] + bytes([rng.randrange(12)]) + wire[4:]


def _flags(rng: random.Random, wire: bytes) -> bytes:
    return wire[:4] + rng.randbytes(1) + wire[5:]


def _stream(rng: random.Random, wire: bytes) -> bytes:
    stream_id = rng.choice((0, 1, 2, 3, 5, 7, 9, 2**31 - 1))
    return wire[:5] + stream_id.to_bytes(4, "big") + wire[9:]


def _repeat(rng: random.Random, wire: bytes) -> bytes:
    return wire * rng.randrange(2, 6)


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip, _flip_payload, _truncate, _cut_payload, _fill, _kind, _flags, _stream, _repeat,
)  # fmt: skip
