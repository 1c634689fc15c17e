"""Feeds mutated frames to an end of HTTP/2: it may only refuse, never hang, swell or raise else.

python -m bench.fuzz_http2 --end server --frames 1000000
"""

import argparse
import random
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.fuzz_ends import NUM_STREAMS, ClientEnd, ServerEnd
from bench.mutations import MUTATIONS
from gateway.http2 import frames
from gateway.http2.frames import ProtocolError

MAX_OUT_PER_FRAME = 256
"""No frame may make an end send more than this, besides what waits for windows."""


@dataclass
class Findings:
    """What a run of the fuzzer saw."""

    mutated: int = 0
    connections: int = 0
    refused: int = 0
    events: int = 0
    slowest_s: float = 0.0


class Fuzzed(Protocol):
    """An end of a connection whose peer has said nothing yet, and what such a peer might say."""

    said: list[bytes]
    body_bytes: int

    def feed(self, data: bytes) -> int:
        """Take bytes, do with what comes of them what a user does; tell how many events."""

    def data_to_send(self) -> bytes:
        """Return what is to be sent, once."""


ENDS: dict[str, Callable[[random.Random], Fuzzed]] = {"client": ClientEnd, "server": ServerEnd}


def fuzz(end: str, seed: int, num_frames: int) -> Findings:
    """Mutate so many frames. Raises whatever is not a refusal, AssertionError when it swells."""
    rng, findings = random.Random(seed), Findings()
    while findings.mutated < num_frames:
        started = time.perf_counter()
        _converse(rng, ENDS[end](rng), findings)
        findings.connections += 1
        findings.slowest_s = max(findings.slowest_s, time.perf_counter() - started)
    return findings


def _converse(rng: random.Random, end: Fuzzed, findings: Findings) -> None:
    rate = rng.choice((0.03, 0.1, 0.5))
    for wire in end.said:
        if rng.random() < rate:
            wire = rng.choice(MUTATIONS)(rng, wire)
            findings.mutated += 1
        try:
            _feed(rng, end, wire, findings)
        except ProtocolError:
            findings.refused += 1
            break


def _feed(rng: random.Random, end: Fuzzed, wire: bytes, findings: Findings) -> None:
    cut = rng.randrange(len(wire) + 1)
    for part in (wire[:cut], wire[cut:]):
        findings.events += end.feed(part)
    num_frames = len(wire) // frames.HEADER_BYTES + 1
    limit = NUM_STREAMS * (end.body_bytes + MAX_OUT_PER_FRAME) + num_frames * MAX_OUT_PER_FRAME
    assert len(end.data_to_send()) <= limit, "a few frames made an end say too much"


def main() -> None:
    """Run and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--end", choices=sorted(ENDS), default="client")
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    findings = fuzz(options.end, options.seed, options.frames)
    rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(findings)
    print(f"{time.perf_counter() - started:.0f} s, at most {rss_mib:.0f} MiB resident")


if __name__ == "__main__":
    main()
