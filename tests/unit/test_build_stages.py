"""A stage is made once and wholly; a program that fails is told with the end of its log."""

import sys
from pathlib import Path

import pytest

from build_engine.process import ProgramFailed, last_line, run_program
from build_engine.schedule import Choice
from build_engine.stages import Stage, Workshop


class Told:
    """A Board that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def started(self, stage: str) -> None:
        self.events.append(f"started {stage}")

    def said(self, stage: str, line: str) -> None: ...
    def moved(self, stage: str, done_bytes: int, total_bytes: int) -> None: ...

    def finished(self, stage: str, seconds: float) -> None:
        self.events.append(f"finished {stage}")

    def skipped(self, stage: str) -> None:
        self.events.append(f"skipped {stage}")


@pytest.fixture
def board() -> Told:
    return Told()


@pytest.fixture
def workshop(tmp_path: Path, board: Told) -> Workshop:
    return Workshop(tmp_path / "work", board)


def write(folder: Path, log: Path) -> None:
    (folder / "result").write_text("made")


def fail(folder: Path, log: Path) -> None:
    (folder / "half").touch()
    raise RuntimeError("halfway")


STAGE = Stage("convert", {"tensorrt_llm": "1.2.1"}, write)


def test_a_stage_is_made_once(workshop: Workshop, board: Told) -> None:
    folder = workshop.run(STAGE)
    workshop.run(STAGE)

    assert (folder / "result").read_text() == "made"
    assert board.events == ["started convert", "finished convert", "skipped convert"]


def test_a_stage_is_made_again_when_told_to_or_when_a_file_is_lost(
    workshop: Workshop, board: Told
) -> None:
    folder = workshop.run(STAGE)
    (folder / "result").unlink()

    workshop.run(STAGE)
    workshop.run(STAGE, again=True)

    assert board.events.count("finished convert") == 3


def test_other_inputs_are_another_stage(workshop: Workshop) -> None:
    other = Stage("convert", {"tensorrt_llm": "1.1.0"}, write)
    workshop.run(other)

    assert not workshop.is_done(STAGE)
    assert list(workshop.others(STAGE)) == [{"tensorrt_llm": "1.1.0"}]


def test_a_stage_that_fails_leaves_nothing(workshop: Workshop) -> None:
    with pytest.raises(RuntimeError):
        workshop.run(Stage("convert", {}, fail))

    assert list((workshop.folder / "stages").iterdir()) == []


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"files": {"gone": {}}}'])
def test_a_record_that_is_damaged_is_no_record(workshop: Workshop, content: str) -> None:
    folder = workshop.run(STAGE)
    (folder / "stage.json").write_text(content)

    assert not workshop.is_done(STAGE)
    assert all(isinstance(inputs, dict) for inputs in workshop.others(STAGE))


@pytest.mark.parametrize(
    ("choice", "names", "again"),
    [
        (Choice(), "download convert compile repository verify", False),
        (Choice(only="convert"), "convert", False),
        (Choice(since="compile"), "compile repository verify", True),
        (Choice(only="compile", force=True), "compile", True),
    ],
    ids=["all", "one", "from", "forced"],
)
def test_a_choice_names_its_stages(choice: Choice, names: str, again: bool) -> None:
    assert (" ".join(choice.names), choice.again) == (names, again)


def run(tmp_path: Path, program: str) -> Path:
    log = tmp_path / "logs" / "tool.log"
    run_program([sys.executable, "-c", program], log, lambda line: None)
    return log


def test_what_a_program_prints_is_in_its_log(tmp_path: Path) -> None:
    log = run(tmp_path, "import sys; print(1); print(2, file=sys.stderr); print()")

    assert last_line(log) in "12"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("print('why'); exit(3)", r"(?s)ended with code 3; from the end of .*tool\.log:.*why"),
        ("import os; os.kill(os.getpid(), 9)", r"(?s)killed by signal 9.*`dmesg`"),
        ("exit('unrecognized arguments: --x')", r"(?s)not of the TensorRT-LLM version"),
        ("exit('CUDA out of memory')", r"(?s)lower limits\.max_num_tokens"),
    ],
    ids=["status", "killed", "argument", "memory"],
)
def test_a_program_that_fails_is_told_with_its_log_and_advice(
    tmp_path: Path, program: str, message: str
) -> None:
    with pytest.raises(ProgramFailed, match=message):
        run(tmp_path, program)


def test_a_program_that_is_not_there_is_an_error_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match="ended with code 1"):
        run_program(["no-such-program"], tmp_path / "log", lambda line: None)
