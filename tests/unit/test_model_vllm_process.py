"""The process of vLLM, started and seen to end; what runs in it is scripted."""

import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backend.engines.vllm import wire
from backend.engines.vllm.process import EngineEnded, EngineProcess, Program

SCRIPTED = Path(__file__).parents[1] / "models/vllm"
EXITS = 49_002


@pytest.fixture
def python(tmp_path: Path) -> str:
    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={SCRIPTED} exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return str(path)


def arguments(model: Path, **more: Any) -> dict[str, Any]:
    return {"model": str(model), "max_model_len": 64, "max_num_seqs": 4, **more}


def start(key: int, *prompt: int) -> wire.Start:
    return wire.Start(key, prompt, 3, 0, (), 0.0, 0, 1.0, 1.0, 0.0, 0.0, 0)


@pytest.fixture
def process(python: str, tmp_path: Path) -> Iterator[EngineProcess]:
    process = EngineProcess(Program(arguments(tmp_path), python))
    yield process
    process.close()


def test_it_tells_what_it_serves_and_generates_what_it_is_told(process: EngineProcess) -> None:
    process.tell([start(1, 5, 6)])

    told: list[wire.FromEngine] = []
    while not (told and isinstance(told[-1], wire.Gained) and told[-1].is_finished):
        told += process.listen(30)

    assert process.ready == wire.Ready(64, 16, 49_152)
    gained = [one for one in told if isinstance(one, wire.Gained)]
    assert sum(len(one.ids) for one in gained) == 3


def test_a_wake_ends_the_wait(process: EngineProcess) -> None:
    process.wake()

    assert process.listen(None) == []


def test_its_death_is_told_to_those_who_wait_and_to_the_model(python: str, tmp_path: Path) -> None:
    codes: queue.SimpleQueue[int] = queue.SimpleQueue()
    process = EngineProcess(Program(arguments(tmp_path), python), codes.put)
    process.tell([start(1, 5, EXITS)])

    with pytest.raises(EngineEnded, match="ended with code 9"):
        while True:
            process.listen(30)

    assert codes.get(timeout=30) == 9
    process.close()


FAILS: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": "/nowhere"}, "did not load: ValueError: Invalid repository ID"),
    "no such argument": ({"colour": "red"}, "did not load: TypeError: .*colour"),
}


@pytest.mark.parametrize("case", FAILS)
def test_what_does_not_load_says_why(python: str, tmp_path: Path, case: str) -> None:
    more, reason = FAILS[case]

    with pytest.raises(EngineEnded, match=reason):
        EngineProcess(Program({**arguments(tmp_path), **more}, python))


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")

    with pytest.raises(EngineEnded, match=f"{missing}: No such file"):
        EngineProcess(Program(arguments(tmp_path), missing))


def test_an_interpreter_without_vllm_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineEnded, match="did not load: ModuleNotFoundError: No module named"):
        EngineProcess(Program(arguments(tmp_path), sys.executable))
