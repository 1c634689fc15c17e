"""The stages that make an engine: what decides each, what it runs, what it must leave behind.

Which of them are run is decided in `schedule`; `stages` makes them whole or not at all.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_engine.artifacts import checkpoint_problems, engine_problems
from build_engine.calibration import link
from build_engine.commands import Command, Downloads, Toolbox, build_command, checkpoint_command
from build_engine.errors import BuildError
from build_engine.hub import DATASET, Pinned, fetch
from build_engine.process import run_program
from build_engine.production import Place
from build_engine.readiness import FreeBytes, free_bytes
from build_engine.spec import EngineSpec
from build_engine.stages import Board, Stage, Workshop

_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH")
# Where all that a tool reads is pinned and here, it fetches nothing.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@dataclass(frozen=True)
class Build:
    """One build: what, where, with which tools. `output` keeps stages, logs and repository."""

    spec: EngineSpec
    output: Path
    place: Place
    tools: Toolbox
    board: Board
    hub_cache: Path
    free_bytes: FreeBytes = free_bytes

    def __post_init__(self) -> None:
        if self.spec.quantization.published:
            raise BuildError(
                "quantization.published: trtllm-build has no checkpoint of these weights; serve "
                "them as they are: build-engine repository --engine llm_api --spec SPEC"
            )
        if self.spec.llm:
            raise BuildError(
                "llm: holds arguments of the LLM API, which an engine has no place for; serve the "
                "spec without one: build-engine repository --engine llm_api --spec SPEC"
            )

    @property
    def workshop(self) -> Workshop:
        """Where the stages are kept."""
        return Workshop(self.output, self.board)

    @property
    def repository(self) -> Path:
        """The model repository that Triton is given."""
        return self.output / "repository"

    @property
    def sources(self) -> dict[str, Pinned]:
        """What is fetched from the hub, by where it goes: the model, the heads of EAGLE, texts to
        calibrate with."""
        spec, calibration = self.spec, self.spec.quantization.calibration
        found = {"model": Pinned(spec.model.id, spec.model.revision)}
        if spec.speculative.eagle is not None:
            heads = spec.speculative.eagle
            found["eagle"] = Pinned(heads.id, heads.revision)
        if calibration is not None and calibration.id and calibration.revision:
            name = f"calibration/{calibration.name}"
            found[name] = Pinned(calibration.id, calibration.revision, DATASET)
        return found

    @property
    def download(self) -> Stage:
        """All that is made into a checkpoint, as links: into the hub's cache, or to texts here."""
        sources, texts = self.sources, self.spec.quantization.calibration
        inputs: dict[str, Any] = {
            name: {"id": source.id, "revision": source.revision} for name, source in sources.items()
        }
        if texts is not None and texts.path is not None:
            inputs["calibration"] = {"name": texts.name, "sha256": texts.sha256}

        def make(folder: Path, log: Path) -> None:
            if texts is not None and texts.path is not None:
                link(texts.path, str(texts.sha256), folder / "calibration" / texts.name)
            for name, source in sources.items():
                fetch(source, folder / name, self._moved)

        return Stage("download", inputs, make)

    @property
    def convert(self) -> Stage:
        """The TensorRT-LLM checkpoint, quantized where the spec says so."""
        upstream = self.download
        model = self.workshop.result(upstream)

        def make(folder: Path, log: Path) -> None:
            self._run(self._checkpoint_command(model, folder), "convert", log)
            refuse(checkpoint_problems(self.spec, folder), "the checkpoint is not as asked for")

        command = self._checkpoint_command(Path("DOWNLOAD"), Path("CHECKPOINT"))
        return Stage("convert", self._inputs(command, upstream), make)

    @property
    def compile(self) -> Stage:
        """The engine."""
        upstream = self.convert
        checkpoint = self.workshop.result(upstream)

        def make(folder: Path, log: Path) -> None:
            refuse(checkpoint_problems(self.spec, checkpoint), "the checkpoint cannot be compiled")
            command = build_command(self.spec, self.tools, checkpoint, folder)
            self._run(command, "compile", log)
            refuse(engine_problems(self.spec, folder), "the engine is not as asked for")

        command = build_command(self.spec, Toolbox(), Path("CHECKPOINT"), Path("ENGINE"))
        return Stage("compile", self._inputs(command, upstream), make)

    @property
    def stages(self) -> tuple[Stage, Stage, Stage]:
        """Those that run tools, in order."""
        return self.download, self.convert, self.compile

    def commands(self) -> dict[str, str]:
        """What each stage does, as a line to read or to paste."""
        model, workshop = self.spec.model, self.workshop
        downloaded, checkpoint, engine = (workshop.result(stage) for stage in self.stages)
        return {
            "download": f"{model.id} at {model.revision}, to {self.hub_cache}",
            "convert": str(self._checkpoint_command(downloaded, checkpoint)),
            "compile": str(build_command(self.spec, self.tools, checkpoint, engine)),
        }

    def _checkpoint_command(self, downloaded: Path, output: Path) -> Command:
        tools = self.tools if downloaded.is_absolute() else Toolbox()
        return checkpoint_command(self.spec, tools, Downloads.of(self.spec, downloaded), output)

    def _inputs(self, command: Command, upstream: Stage) -> dict[str, Any]:
        """Return what decides a tool's output: release, arguments, and what it works on."""
        arguments = list(command.argv[1:])
        release = self.spec.tensorrt_llm
        return {"tensorrt_llm": release, "arguments": arguments, "upstream": upstream.key}

    def _run(self, command: Command, stage: str, log: Path) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {command}\n")
        environment = {key: value for key, value in os.environ.items() if key not in _SECRETS}
        if self.spec.quantization.calibration is not None:
            environment |= _OFFLINE
        run_program(command.argv, log, lambda line: self.board.said(stage, line), environment)

    def _moved(self, done_bytes: int, total_bytes: int) -> None:
        self.board.moved("download", done_bytes, total_bytes)


def refuse(problems: Iterable[str], headline: str) -> None:
    """Raise BuildError with the problems, where there are any."""
    found = list(problems)
    if found:
        raise BuildError("\n".join([f"{headline}:", *(f"  {problem}" for problem in found)]))
