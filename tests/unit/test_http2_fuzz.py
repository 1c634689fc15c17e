"""A short run of the frame fuzzer; the long one is `python -m bench.fuzz_http2`."""

import pytest

from bench.fuzz_http2 import fuzz


@pytest.mark.parametrize(("end", "num_frames"), [("client", 20_000), ("server", 5_000)])
def test_mutated_frames_are_refused_or_survived(end: str, num_frames: int) -> None:
    findings = fuzz(end, seed=1, num_frames=num_frames)

    assert findings.mutated >= num_frames
    assert findings.refused > num_frames // 20
    assert findings.events > num_frames
    assert findings.slowest_s < 2
