"""Limits are recommended from what requests were like."""

import json
import random
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from build_engine.cli import app
from build_engine.errors import BuildError
from build_engine.histogram import Histogram, as_svg, as_text
from build_engine.plan import make_plan
from build_engine.spec import load_spec
from build_engine.trace import Request, concurrency, quantile, read_trace
from build_engine.tune import tune

SPEC = load_spec("llama-3.1-8b-h100-fp8")


def chat(number: int, per_second: float, seed: int = 3) -> list[Request]:
    """Requests as chats have them: short prompts mostly, some long, Poisson arrivals."""
    chance = random.Random(seed)
    clock, requests = 0.0, []
    for _ in range(number):
        clock += chance.expovariate(per_second)
        prompt = min(6000, 20 + int(chance.lognormvariate(5, 1)))
        requests.append(Request(prompt, min(1000, 5 + int(chance.expovariate(1 / 200))), clock))
    return requests


def write(path: Path, requests: list[Request]) -> Path:
    path.write_text("\n".join(json.dumps(vars(request)) for request in requests) + "\n")
    return path


def test_as_many_requests_pass_as_asked_for() -> None:
    requests = chat(2000, per_second=20)

    tuning = tune(SPEC, requests, 0.99)

    limits = tuning.spec.limits
    assert 0.985 <= tuning.covered < 1
    assert limits.max_seq_len >= quantile([r.total_tokens for r in requests], 0.99)
    assert limits.max_seq_len < max(r.total_tokens for r in requests)
    assert tune(SPEC, requests, 1.0).covered == 1


def test_the_batch_follows_the_load() -> None:
    quiet, busy = (tune(SPEC, chat(2000, rate), 0.99).spec.limits for rate in (1, 100))

    assert quiet.max_batch_size < busy.max_batch_size / 4
    assert make_plan(tune(SPEC, chat(2000, 100), 0.99).spec).fits


def test_a_load_that_no_kv_cache_carries_is_bounded_by_it() -> None:
    requests = [Request(8000, 1000, 0.0) for _ in range(500)]

    tuning = tune(SPEC, requests, 0.99)

    plan = make_plan(tuning.spec)
    assert tuning.peak == 500
    assert tuning.spec.limits.max_batch_size <= plan.memory.kv_tokens // 9000 + 8


def test_a_kv_cache_is_said_to_bound_the_batch_only_where_it_does() -> None:
    bounded = tune(SPEC, [Request(8000, 1000, 0.0) for _ in range(500)], 0.99)
    free = tune(SPEC, chat(2000, per_second=1), 0.99)

    assert "but the KV cache of h100-80g carries" in bounded.reasons["max_batch_size"]
    assert "would carry" in free.reasons["max_batch_size"]
    assert free.reasons["max_batch_size"].startswith(f"{free.peak} run at once")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(Request, st.integers(1, 20_000), st.integers(0, 4000), st.floats(0, 1000)),
        min_size=1,
        max_size=40,
    )
)
def test_any_trace_yields_a_spec_that_validates(requests: list[Request]) -> None:
    ordered = sorted(requests, key=lambda request: request.arrival_s)

    tuning = tune(SPEC, ordered, 1.0)

    assert tuning.covered == 1
    assert tuning.spec.limits.max_num_tokens >= tuning.spec.limits.max_batch_size


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([5], 0.99, 5), (list(range(1, 101)), 0.99, 99), ([1, 2, 3, 4], 0.5, 2), ([3, 1], 1.0, 3)],
)
def test_a_quantile_is_the_least_value_that_enough_do_not_exceed(
    values: list[int], share: float, expected: int
) -> None:
    assert quantile(values, share) == expected


def test_concurrency_counts_those_that_still_run() -> None:
    requests = [Request(1, 10, 0.0), Request(1, 10, 5.0), Request(1, 10, 12.0)]

    assert concurrency(requests, 1.0) == [1, 2, 2]


def test_a_spec_and_a_picture_come_out(tmp_path: Path) -> None:
    trace = write(tmp_path / "trace.jsonl", chat(500, 10))
    output, plot = tmp_path / "tuned.yaml", tmp_path / "lengths.svg"

    result = CliRunner().invoke(
        app,
        ["tune", "--trace", str(trace), "--output", str(output), "--plot", str(plot)],
    )

    assert result.exit_code == 0, result.stderr
    spec = load_spec(str(output))
    assert f"max_seq_len: {spec.limits.max_seq_len}" in result.stdout
    assert result.stdout.count("◄") == 2
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")


BAD = {
    "no JSON": ("{", r"trace\.jsonl:1: not an object with prompt_tokens"),
    "a list": ("[]", r"trace\.jsonl:1: not an object"),
    "a field less": ('{"prompt_tokens": 1}', r"completion_tokens"),
    "a text": (
        '{"prompt_tokens": "1", "completion_tokens": 1, "arrival_s": 0}',
        r"must be counts of tokens",
    ),
    "no prompt": ('{"prompt_tokens": 0, "completion_tokens": 1, "arrival_s": 0}', r"counts"),
    "no time": ('{"prompt_tokens": 1, "completion_tokens": 1, "arrival_s": null}', r"arrival_s"),
    "nothing": ("\n", r"holds no requests"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_trace_that_cannot_be_read_is_refused_by_line(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    (tmp_path / "trace.jsonl").write_text(text)

    with pytest.raises(BuildError, match=message):
        read_trace(tmp_path / "trace.jsonl")


def test_bars_count_every_value_and_mark_the_limit() -> None:
    histogram = Histogram.of("lengths <b>", [1, 1, 500, 1599], 800)

    assert sum(histogram.counts) == 4
    lines = as_text(histogram).splitlines()
    assert [line for line in lines if "◄ 800" in line] == [lines[1 + histogram.limited]]
    assert "&lt;b&gt;" in as_svg([histogram])
