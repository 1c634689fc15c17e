"""Feeds mutated frames to the HTTP/2 client: it may only refuse, never hang, swell or raise else.

python -m bench.fuzz_http2 --frames 1000000
"""

import argparse
import random
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

from hpack import Encoder

from gateway.http2 import frames
from gateway.http2.connection import Connection
from gateway.http2.frames import ErrorCode, Kind, ProtocolError, Setting
from gateway.http2.messages import prefixed

NUM_STREAMS = 4
BODY = bytes(100)
MAX_OUT_PER_FRAME = 64
"""No frame may make the client send more than this, besides the requests that wait for windows."""


@dataclass
class Findings:
    """What a run of the fuzzer saw."""

    mutated: int = 0
    connections: int = 0
    refused: int = 0
    events: int = 0
    slowest_s: float = 0.0


def _block(*headers: tuple[str, str]) -> bytes:
    return Encoder().encode([(name, value, True) for name, value in headers])


_BEGIN = _block((":status", "200"), ("content-type", "application/grpc"))
_END = _block(("grpc-status", "13"), ("grpc-message", "no%20luck %e2%82%ac"))


def conversation(rng: random.Random) -> list[bytes]:
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


def fuzz(seed: int, num_frames: int) -> Findings:
    """Mutate so many frames. Raises whatever is not a refusal, AssertionError when it swells."""
    rng, findings = random.Random(seed), Findings()
    while findings.mutated < num_frames:
        started = time.perf_counter()
        _converse(rng, findings)
        findings.connections += 1
        findings.slowest_s = max(findings.slowest_s, time.perf_counter() - started)
    return findings


def _converse(rng: random.Random, findings: Findings) -> None:
    said = conversation(rng)
    client = Connection()
    if rng.random() < 0.9:
        client.receive(said.pop(0))
    for _ in range(NUM_STREAMS):
        client.open(b"\x20\x83", BODY)
    client.data_to_send()
    rate = rng.choice((0.03, 0.1, 0.5))
    for wire in said:
        if rng.random() < rate:
            wire = rng.choice(MUTATIONS)(rng, wire)
            findings.mutated += 1
        try:
            _feed(rng, client, wire, findings)
        except ProtocolError:
            findings.refused += 1
            break


def _feed(rng: random.Random, client: Connection, wire: bytes, findings: Findings) -> None:
    cut = rng.randrange(len(wire) + 1)
    for part in (wire[:cut], wire[cut:]):
        events = client.receive(part)
        findings.events += len(events)
        for stream_id, item in events:
            if isinstance(item, bytes) and rng.random() < 0.7:
                client.read(stream_id, [item])
    num_frames = len(wire) // frames.HEADER_BYTES + 1
    limit = NUM_STREAMS * (len(BODY) + MAX_OUT_PER_FRAME) + num_frames * MAX_OUT_PER_FRAME
    assert len(client.data_to_send()) <= limit, "a few frames made the client say too much"


def main() -> None:
    """Run and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    findings = fuzz(options.seed, options.frames)
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(findings)
    print(f"{time.perf_counter() - started:.0f} s, at most {rss_mib:.0f} MiB resident")


if __name__ == "__main__":
    main()
