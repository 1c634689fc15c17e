"""A short run of the frame fuzzer; the long one is `python -m bench.fuzz_http2`."""

from bench.fuzz_http2 import fuzz


def test_mutated_frames_are_refused_or_survived() -> None:
    findings = fuzz(seed=1, num_frames=20_000)

    assert findings.mutated >= 20_000
    assert findings.refused > 1_000
    assert findings.events > 20_000
    assert findings.slowest_s < 2
