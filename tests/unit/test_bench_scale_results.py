"""What the gateway carries, as it is committed."""

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.machine import Machine
from bench.scale_results import ScaleResults, Step

STEP = Step(
    workers=4,
    streams=560,
    tokens_per_s_asked=28_000,
    tokens_per_s=27_990.4,
    gateway_cores=1.234,
    busiest_worker_cores=0.4,
    us_per_token=44.04,
    events_per_token=1.02,
    gap_p50_ms=20.0,
    gap_p99_ms=31.2,
    lag_p50_ms=1.1,
    lag_p99_ms=9.0,
    triton_cores=0.1,
    client_cores=0.2,
    failures=[],
)
BEHIND = replace(STEP, streams=1120, tokens_per_s_asked=56_000, tokens_per_s=50_000)


@pytest.mark.parametrize(
    ("step", "keeps_up"),
    [
        (STEP, True),
        (replace(STEP, tokens_per_s=27_440), True),
        (replace(STEP, tokens_per_s=27_439), False),
        (replace(STEP, failures=["no end in time"]), False),
    ],
    ids=["all", "98 %", "less", "a failure"],
)
def test_a_gateway_keeps_up_that_hands_on_what_comes(step: Step, keeps_up: bool) -> None:
    assert step.keeps_up is keeps_up


def test_a_line_tells_why_streams_failed() -> None:
    assert str(replace(STEP, failures=["refused"] * 3)).endswith("3 failed: refused")


def test_the_table_marks_where_the_gateway_fell_behind() -> None:
    table = ScaleResults(Machine(), {}, [STEP, BEHIND]).to_markdown()

    assert "| 4 | 560 | 28,000 | 27,990 | 1.23 | 0.40 | 44.0 |" in table
    assert "| 4 | 1,120 | 56,000 | **50,000** |" in table


def test_files_have_every_step_and_a_curve_for_each_number_of_workers(tmp_path: Path) -> None:
    steps = [STEP, BEHIND, replace(STEP, workers=1)]

    ScaleResults(Machine(), {"tritons": 2}, steps).write(tmp_path)

    content = json.loads((tmp_path / "scale.json").read_text())
    texts = [element.text for element in ElementTree.parse(tmp_path / "scale.svg").iter()]
    assert [step["streams"] for step in content["steps"]] == [560, 1120, 560]
    assert content["setup"] == {"tritons": 2}
    assert (texts.count("1 worker"), texts.count("4 workers")) == (2, 2)
    assert "27,990" in (tmp_path / "scale.md").read_text()
