"""`gateway bench` as its users run it, against a simulated engine whose pace is known."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from build_engine.repository import RepositorySpec, build
from tests.conftest import Figure
from tests.e2e.conftest import Stack, start_stack, stop_stack

STEP_S = 0.02
SCRIPT = {"answers": [{"contains": "", "answer": "", "end": "limit"}], "cost": {"step_s": STEP_S}}


@pytest.fixture(scope="module")
def paced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A simulator that takes 20 ms for a step, whatever is in it."""
    folder = tmp_path_factory.mktemp("paced")
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT))
    build(RepositorySpec("simulated", folder / "repository", script=script))
    running = start_stack(folder)
    yield running
    stop_stack(running)


def bench(*options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command on a terminal of 80 columns."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", "bench", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


def test_figures_match_the_pace_of_the_engine(paced: Stack, tmp_path: Path, figure: Figure) -> None:
    done = bench(
        paced.url, "--concurrency=2,16", "--requests=16", "--max-tokens=16", "--itl-ms=4000",
        f"--json={tmp_path}/bench.json", f"--plot={tmp_path}/bench.svg",
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    two, many = json.loads((tmp_path / "bench.json").read_text())["levels"]
    for level in (two, many):
        assert (level["answered"], level["output_tokens"]) == (16, 256)
        assert level["itl_s"]["p50"] > STEP_S * 0.9
        assert level["e2e_s"]["p50"] > 16 * STEP_S * 0.9
    # A busy machine is slower than the engine's pace, never faster; the batch pays off on any.
    assert 2 * two["output_tokens_per_s"] < many["output_tokens_per_s"] < 17.6 / STEP_S
    assert two["output_tokens_per_s"] < 2.2 / STEP_S
    assert two["goodput_per_s"] == two["requests_per_s"]
    assert "output tokens/s" in done.stdout
    assert ElementTree.parse(tmp_path / "bench.svg").getroot().tag.endswith("svg")
    figure(
        f"bench: 2 and 16 streams of {1 / STEP_S:.0f} tokens/s measured as "
        f"{two['output_tokens_per_s']:.0f} and {many['output_tokens_per_s']:.0f} tokens/s"
    )


def test_a_batch_is_told_with_its_cost(paced: Stack) -> None:
    done = bench(paced.url, "--preset=batch-128", "--max-tokens=16", "--dollars-per-hour=3.95")

    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "128 answers, 2,048 tokens in " in told
    assert "per million output tokens at $3.95 an hour" in told


def test_what_cannot_be_measured_ends_in_one_line(paced: Stack) -> None:
    done = bench(paced.url, "--model=nope", OPENAI_API_KEY="sk-mine")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert "sk-mine" not in done.stderr
