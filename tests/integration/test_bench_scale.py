"""The load that shows how far the gateway scales: real processes, few streams."""

from pathlib import Path

import llama_models.llama3
import pytest

from bench.scale import Bench
from bench.stack import Setup, stack
from build_engine.tokenizer import convert

TOKENS_PER_S = 8 * 50


def test_what_two_mocks_send_is_what_two_clients_get(tmp_path: Path) -> None:
    tokenizer = tmp_path / "llama-3.1"
    convert(Path(llama_models.llama3.__file__).parent / "tokenizer.model", tokenizer, "llama-3.1")
    setup = Setup(tokenizer, workers=1, tritons=2, pace_ms=20)

    with stack(setup) as running:
        step = Bench(setup, clients=2, window_s=1).step(running, 8)

    assert step.failures == []
    assert step.tokens_per_s_asked == TOKENS_PER_S
    assert step.tokens_per_s == pytest.approx(TOKENS_PER_S, rel=0.1)
    assert (
        0
        < step.us_per_token
        == pytest.approx(step.gateway_cores * 1e6 / step.tokens_per_s, rel=0.01)
    )
    assert step.gateway_cores == step.busiest_worker_cores
    assert 5 < step.gap_p50_ms < 40
    assert 0 < step.lag_p50_ms <= step.lag_p99_ms
