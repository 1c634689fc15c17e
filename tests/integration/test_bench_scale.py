"""The load that shows how far the gateway scales: real processes, few streams."""

from pathlib import Path

import pytest

from bench.scale import Bench
from bench.stack import Setup, stack

pytestmark = pytest.mark.alone

TOKENS_PER_S = 8 * 50


def test_what_two_mocks_send_is_what_two_clients_get(llama3_folder: Path) -> None:
    setup = Setup(llama3_folder, workers=1, tritons=2, pace_ms=20)

    with stack(setup) as running:
        step = Bench(setup, clients=2, window_s=1).step(running, 8)

    assert step.failures == []
    assert step.tokens_per_s_asked == TOKENS_PER_S
    assert step.tokens_per_s <= 1.1 * TOKENS_PER_S
    assert (
        0
        < step.us_per_token
        == pytest.approx(step.gateway_cores * 1e6 / step.tokens_per_s, rel=0.01)
    )
    assert step.gateway_cores == step.busiest_worker_cores
    assert step.gap_p50_ms > 5
    assert 0 < step.lag_p50_ms <= step.lag_p99_ms
