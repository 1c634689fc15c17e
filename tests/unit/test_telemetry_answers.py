"""Answers are counted when they begin, once a second, and when they end; each token once."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.telemetry.answers import AnswerWatch, count_under_way
from gateway.telemetry.folder import forget
from gateway.telemetry.metrics import REGISTRY


@dataclass
class Growing:
    completion_tokens: int = 0


def figure(name: str) -> float:
    return REGISTRY.get_sample_value(f"gateway_{name}") or 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which tests move."""
    now = [100.0]
    monkeypatch.setattr("gateway.telemetry.answers.time.monotonic", lambda: now[0])
    return now


def test_an_answer_is_in_flight_from_its_begin_to_its_end() -> None:
    before = figure("requests_in_flight")
    watch = AnswerWatch(Growing(), prompt_tokens=7, num_sequences=1, arrived=0.0)
    prompts = figure("prompt_tokens_total")

    watch.begin()
    during = figure("requests_in_flight")
    watch.end(is_whole=False)

    assert during == before + 1
    assert figure("requests_in_flight") == before
    assert figure("prompt_tokens_total") == prompts + 7


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "never begun"])
def test_an_answer_waits_until_something_of_it_has_come(begun: bool) -> None:
    before = figure("requests_waiting")
    watch = AnswerWatch(Growing(), prompt_tokens=7, num_sequences=1, arrived=0.0)

    watch.begin()
    waiting = figure("requests_waiting")
    if begun:
        watch.first()
        assert figure("requests_waiting") == before
    watch.end(is_whole=begun)

    assert waiting == before + 1
    assert figure("requests_waiting") == before


def test_each_token_is_counted_once_however_often_is_looked() -> None:
    answer = Growing()
    watch = AnswerWatch(answer, prompt_tokens=1, num_sequences=1, arrived=0.0)
    before = figure("completion_tokens_total")

    watch.begin()
    seen = []
    for tokens in (0, 3, 3, 10):
        answer.completion_tokens = tokens
        count_under_way()
        seen.append(figure("completion_tokens_total") - before)
    answer.completion_tokens = 12
    watch.end(is_whole=True)
    count_under_way()

    assert seen == [0, 3, 3, 10]
    assert figure("completion_tokens_total") - before == 12


def test_times_are_those_from_arrival_and_from_token_to_token(clock: list[float]) -> None:
    answer = Growing()
    watch = AnswerWatch(answer, prompt_tokens=1, num_sequences=2, arrived=99.5)
    firsts = figure("time_to_first_token_seconds_sum")
    paces = figure("time_per_output_token_seconds_sum")

    watch.begin()
    watch.first()
    clock[0] += 2.0
    answer.completion_tokens = 22
    watch.end(is_whole=True)

    assert figure("time_to_first_token_seconds_sum") - firsts == pytest.approx(0.5)
    assert figure("time_per_output_token_seconds_sum") - paces == pytest.approx(2.0 / 10)


@pytest.mark.parametrize(
    ("tokens", "is_whole", "begun"),
    [(9, False, True), (1, True, True), (9, True, False)],
    ids=["broken off", "one token", "nothing came"],
)
def test_a_pace_is_told_of_whole_answers_alone(tokens: int, is_whole: bool, begun: bool) -> None:
    watch = AnswerWatch(Growing(tokens), prompt_tokens=1, num_sequences=1, arrived=0.0)
    before = figure("time_per_output_token_seconds_count")

    watch.begin()
    if begun:
        watch.first()
    watch.end(is_whole=is_whole)

    assert figure("time_per_output_token_seconds_count") == before


def test_what_a_worker_had_in_hand_when_it_was_killed_is_in_hand_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    code = """
import os
from gateway.telemetry.answers import AnswerWatch
class Answer: completion_tokens = 3
AnswerWatch(Answer(), 7, 1, 0.0).begin()
print(os.getpid(), flush=True)
os.kill(os.getpid(), 9)
"""

    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    before = summed(tmp_path)
    forget(int(killed.stdout))

    assert before == {"gateway_requests_in_flight": 1.0, "gateway_prompt_tokens_total": 7.0}
    assert summed(tmp_path) == {"gateway_prompt_tokens_total": 7.0}


def summed(folder: Path) -> dict[str, float]:
    """Return what all workers have counted that is not nothing, as /metrics tells it."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    samples = [sample for metric in registry.collect() for sample in metric.samples]
    wanted = ("gateway_requests_in_flight", "gateway_prompt_tokens_total")
    return {one.name: one.value for one in samples if one.name in wanted and one.value}
