"""Stages of a build: made once for the same inputs, whole or not at all. Knows no TensorRT-LLM."""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from build_engine.files import replacing
from build_engine.manifest import stamp

RECORD = "stage.json"
# What reading a record raises where it is missing or no record.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)


class Board(Protocol):
    """Where a build shows how far it is."""

    def started(self, stage: str) -> None:
        """A stage begins."""

    def said(self, stage: str, line: str) -> None:
        """A stage's latest word."""

    def moved(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """So many bytes of a stage are done."""

    def finished(self, stage: str, seconds: float) -> None:
        """A stage is done."""

    def skipped(self, stage: str) -> None:
        """A stage was done before."""


@dataclass(frozen=True)
class Stage:
    """One step. `inputs` are all that decides what `make` writes into the folder it is given,
    where it may also write to the log it is given."""

    name: str
    inputs: Mapping[str, Any]
    make: Callable[[Path, Path], None]

    @property
    def key(self) -> str:
        """What tells this stage from the same one with other inputs."""
        content = json.dumps([self.name, self.inputs], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


class Workshop:
    """The folder where stages keep what they made, and their logs."""

    def __init__(self, folder: Path, board: Board) -> None:
        self.folder = folder
        self._board = board

    def result(self, stage: Stage) -> Path:
        """The folder of a stage's files, there or not."""
        return self.folder / "stages" / f"{stage.name}-{stage.key}"

    def log(self, stage: Stage) -> Path:
        """The file with what a stage's programs print."""
        return self.folder / "logs" / f"{stage.name}-{stage.key}.log"

    def is_done(self, stage: Stage) -> bool:
        """Tell whether every file of a stage is there as it was made."""
        folder = self.result(stage)
        with contextlib.suppress(*_DAMAGED):
            files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
            return all(stamp(folder / name) == facts for name, facts in files.items())
        return False

    def run(self, stage: Stage, *, again: bool = False) -> Path:
        """Return a stage's folder, made now unless that was done before."""
        folder = self.result(stage)
        if not again and self.is_done(stage):
            self._board.skipped(stage.name)
            return folder
        self._board.started(stage.name)
        began = time.monotonic()
        self.log(stage).parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder) as staging:
            stage.make(staging, self.log(stage))
            record = {"stage": stage.name, "inputs": stage.inputs, "files": _stamps(staging)}
            (staging / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")
        self._board.finished(stage.name, time.monotonic() - began)
        return folder

    def others(self, stage: Stage) -> Iterator[Mapping[str, Any]]:
        """Yield the inputs of finished stages of the same name in this folder."""
        for record in sorted((self.folder / "stages").glob(f"{stage.name}-*/{RECORD}")):
            with contextlib.suppress(*_DAMAGED):
                yield json.loads(record.read_text(encoding="utf-8"))["inputs"]

    def clear_unfinished(self) -> None:
        """Remove what killed builds left of their stages."""
        for left in (self.folder / "stages").glob(".*"):
            shutil.rmtree(left, ignore_errors=True)


def _stamps(folder: Path) -> dict[str, dict[str, int]]:
    return {
        path.relative_to(folder).as_posix(): stamp(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
