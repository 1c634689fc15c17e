"""From bytes and times to figures: what a benchmark says is what the stream did."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bench.figures import (
    Percentiles,
    Target,
    dollars_per_million,
    percentile,
    summarize,
)
from gateway.bench.recording import Answer, Failure, Outcome, Recording, read

NOT_SET = Target()
ROLE = {"choices": [{"delta": {"role": "assistant", "content": ""}}], "usage": None}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}


def said(content: str) -> dict[str, object]:
    return {"choices": [{"delta": {"content": content}}]}


def frames(*events: Mapping[str, object]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def recorded(*chunks: tuple[float, bytes]) -> Outcome:
    return read(Recording(sent_at=10.0, chunks=list(chunks)))


def answer(ttft_s: float, *gaps_s: float, output_tokens: int = 0) -> Answer:
    duration_s = ttft_s + sum(gaps_s)
    return Answer(ttft_s, list(gaps_s), duration_s, 1, output_tokens or len(gaps_s) + 1)


def test_an_answer_is_timed_from_event_to_event_and_counted_by_its_usage() -> None:
    outcome = recorded(
        (10.2, frames(ROLE)),
        (10.5, frames(said("a"))),
        (10.75, b": keep-alive\n\n" + frames(said("b"), said("c"))),
        (11.0, frames(END, USAGE) + b"data: [DONE]\n\n"),
    )

    assert outcome == Answer(0.5, [0.25, 0.0], 1.0, prompt_tokens=7, output_tokens=5)


def test_without_usage_events_with_content_count_as_tokens() -> None:
    outcome = recorded((10.5, frames(ROLE, said("a"), said("b"), END) + b"data: [DONE]\n\n"))

    assert isinstance(outcome, Answer)
    assert (outcome.prompt_tokens, outcome.output_tokens) == (0, 2)


@pytest.mark.parametrize(
    "delta",
    [{"tool_calls": [{"index": 0}]}, {"reasoning_content": "hm"}, {"refusal": "no"}],
    ids=["tool call", "reasoning", "refusal"],
)
def test_whatever_is_said_first_is_the_first_token(delta: dict[str, object]) -> None:
    event = {"choices": [{"delta": delta}]}

    outcome = recorded((10.5, frames(ROLE)), (11.0, frames(event) + b"data: [DONE]\n\n"))

    assert isinstance(outcome, Answer)
    assert outcome.ttft_s == 1.0


@given(cuts=st.lists(st.integers(1, 400), max_size=6), crlf=st.booleans())
def test_where_the_network_cuts_the_stream_changes_no_token(cuts: list[int], crlf: bool) -> None:
    stream = frames(ROLE, said("ä"), said("b"), END, USAGE) + b"data: [DONE]\n\n"
    stream = stream.replace(b"\n", b"\r\n") if crlf else stream
    edges = sorted({0, *(min(cut, len(stream)) for cut in cuts), len(stream)})

    outcome = recorded(*((11.0, stream[a:b]) for a, b in pairwise(edges)))

    assert outcome == Answer(1.0, [0.0], 1.0, 7, 5)


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (frames(said("a")), "the stream was cut short"),
        (b"", "the stream was cut short"),
        (frames(said("a"), {"error": {"message": "gone"}}), "error in the stream: gone"),
    ],
    ids=["no end", "nothing", "an error"],
)
def test_a_stream_without_its_end_is_a_failure(stream: bytes, reason: str) -> None:
    assert recorded((11.0, stream)) == Failure(reason)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([5.0], 0.99, 5.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([1.0, 2.0], 0.5, 1.5),
        ([float(i) for i in range(101)], 0.9, 90.0),
        ([0.0, 10.0], 0.99, 9.9),
    ],
    ids=["one", "odd", "between", "hundred", "near the top"],
)
def test_percentiles(values: Sequence[float], share: float, expected: float) -> None:
    assert percentile(values, share) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_ordered_and_within_the_values(values: list[float]) -> None:
    found = Percentiles.of(values)

    tolerance = 1e-9 * max(values)
    assert min(values) - tolerance <= found.p50 <= found.p90 + tolerance
    assert found.p90 - tolerance <= found.p99 <= max(values) + tolerance


def test_there_are_no_percentiles_of_nothing() -> None:
    assert math.isnan(Percentiles.of([]).p50)


def test_rates_count_whole_answers_and_failures_are_told_by_reason() -> None:
    outcomes: list[Outcome] = [
        answer(0.1, 0.1),
        answer(0.3, output_tokens=9),
        *[Failure("refused")] * 2,
    ]

    level = summarize(4, 2.0, outcomes, NOT_SET, 0.1)

    assert (level.answered, level.failed, level.failures) == (2, 2, {"refused": 2})
    assert (level.requests_per_s, level.output_tokens_per_s) == (1.0, 5.5)
    assert level.ttft_s.p50 == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("ttft_ms", "itl_ms", "goodput"),
    [(None, None, 3.0), (100, None, 2.0), (None, 20, 2.0), (100, 20, 1.0), (1, 1, 0.0)],
    ids=["no target", "first token", "later tokens", "both", "out of reach"],
)
def test_goodput_counts_the_answers_that_meet_the_target(
    ttft_ms: float | None, itl_ms: float | None, goodput: float
) -> None:
    outcomes = [answer(0.09, 0.019), answer(0.2, 0.019), answer(0.09, 0.03)]

    level = summarize(1, 1.0, outcomes, Target.of_ms(ttft_ms, itl_ms), 0.0)

    assert level.goodput_per_s == goodput


def test_time_between_tokens_is_a_mean_over_tokens_not_over_events() -> None:
    assert answer(0.1, 0.2, 0.2, output_tokens=5).itl_s == pytest.approx(0.1)


def test_a_million_tokens_cost_what_the_time_they_take_costs() -> None:
    assert dollars_per_million(3.6, 1000) == pytest.approx(1.0)
    assert dollars_per_million(3.6, 0) == math.inf


@pytest.mark.parametrize(("cpu", "is_bound"), [(0.5, False), (0.95, True)], ids=str)
def test_a_client_without_time_to_spare_is_told(cpu: float, is_bound: bool) -> None:
    assert summarize(1, 1.0, [answer(0.1)], NOT_SET, cpu).is_client_bound is is_bound
