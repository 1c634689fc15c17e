"""What a benchmark asks, and how it tells what it found."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from gateway.bench import svg
from gateway.bench.errors import BenchError
from gateway.bench.figures import Level, Target, summarize
from gateway.bench.plot import draw
from gateway.bench.recording import Answer, Failure, Outcome
from gateway.bench.report import Report, batch_line, short
from gateway.bench.workload import QUESTIONS, Workload, read_prompts, words


def level(concurrency: int, *outcomes: Outcome, client_cpu: float = 0.1) -> Level:
    return summarize(concurrency, 2.0, outcomes, Target(0.2), client_cpu)


def report(*levels: Level, dollars_per_hour: float = 3.6) -> Report:
    target = Target(0.2)
    return Report("http://x/v1", "a<b", "questions", target, dollars_per_hour, list(levels))


def answer(ttft_s: float) -> Answer:
    return Answer(ttft_s, [0.02, 0.03], ttft_s + 0.05, 10, 3)


def printed(found: Report) -> str:
    output = io.StringIO()
    Console(file=output, width=80).print(found.to_table())
    return output.getvalue()


def test_the_table_has_a_column_per_concurrency_and_fits_a_terminal() -> None:
    levels = [level(2**i, answer(0.1), answer(0.3)) for i in range(6)]

    lines = printed(report(*levels)).splitlines()

    assert lines[1].split() == ["concurrent", "streams", "1", "2", "4", "8", "16", "32"]
    assert any(line.split() == ["first", "token,", "ms", "p50", *["200"] * 6] for line in lines)
    assert any("goodput" in line and "0.50" in line for line in lines)
    assert any("$/M" in line and "333" in line for line in lines)


def test_what_nobody_asked_for_is_not_in_the_table() -> None:
    found = report(level(1, answer(0.1)), dollars_per_hour=0)
    found.target = Target()

    assert not {"goodput", "$/M"} & set(printed(found).split())


def test_json_has_every_figure_and_null_where_there_is_none() -> None:
    found = json.loads(report(level(1, Failure("refused"))).to_json())

    (only,) = found["levels"]
    assert only["failures"] == {"refused": 1}
    assert only["ttft_s"] == {"p50": None, "p90": None, "p99": None}
    assert found["target"] == {"ttft_s": 0.2, "itl_s": None}


def test_failures_and_a_busy_client_are_noted() -> None:
    notes = report(
        level(1, Failure("refused"), Failure("refused")), level(8, answer(0.1), client_cpu=0.9)
    ).notes()

    assert notes[0] == "2 failed at concurrency 1: refused"
    assert "concurrency 8" in notes[1]


def test_a_batch_is_told_in_a_sentence() -> None:
    batch = level(2, answer(0.1), answer(0.1))

    assert batch_line(report(batch), batch) == (
        "2 answers, 6 tokens in 2.0 s: 3 tokens/s, "
        "$333.33 per million output tokens at $3.60 an hour"
    )


@pytest.mark.parametrize(
    "levels",
    [(), (level(1, Failure("x")),), (level(1, answer(0.1)),), (level(1, answer(0.0)),) * 2],
    ids=["nothing", "failures", "one", "two"],
)
def test_a_plot_is_well_formed_whatever_was_found(levels: tuple[Level, ...]) -> None:
    plot = draw(report(*levels))

    texts = [element.text or "" for element in ElementTree.fromstring(plot).iter() if element.text]
    assert any(text.startswith("a<b") for text in texts)
    assert "nan" not in plot


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        (0, [0, 1]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (4774, [0, 1000, 2000, 3000, 4000, 5000]),
        (83, [0, 20, 40, 60, 80, 100]),
    ],
    ids=str,
)
def test_ticks_are_round_and_reach_the_highest(highest: float, expected: list[float]) -> None:
    assert svg.ticks(highest) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.234, "1.23"), (12.34, "12.3"), (1234.5, "1,234"), (float("nan"), "-")],
    ids=str,
)
def test_numbers_are_short(value: float, expected: str) -> None:
    assert short(value) == expected


def test_our_questions_are_a_batch_of_128() -> None:
    prompt = read_prompts(QUESTIONS)

    assert len({prompt(i) for i in range(128)}) == 128
    assert prompt(128) == prompt(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n\n{"question": "b"}\n', "line 3"),
        ('{"prompt": "a"}\nnot json', "line 2"),
        ('{"prompt": 1}', "line 1"),
        ('["prompt"]', "line 1"),
        ("\n", "has no prompts"),
    ],
    ids=["another key", "no json", "no text", "no object", "empty"],
)
def test_a_prompts_file_is_refused_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(content)

    with pytest.raises(BenchError, match=message):
        read_prompts(path)


def test_a_prompts_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot read"):
        read_prompts(tmp_path / "none.jsonl")


def test_synthetic_prompts_differ_and_come_again() -> None:
    prompt = words(50, seed=1)

    assert len(prompt(1).split()) == 50
    assert prompt(1) == words(50, seed=1)(1) not in (prompt(2), words(50, seed=2)(1))


def test_a_request_streams_with_usage_and_carries_what_was_added() -> None:
    workload = Workload(lambda number: f"question {number}", 9, {"temperature": 0})

    assert json.loads(workload.body("m", 3)) == {
        "model": "m",
        "messages": [{"role": "user", "content": "question 3"}],
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }
    assert json.loads(workload.probe("m"))["max_tokens"] == 1
