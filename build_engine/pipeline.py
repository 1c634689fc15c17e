"""From a spec to a repository that Triton loads: download, convert, compile, repository, verify.

Says what each stage needs and checks between them; `stages` makes them whole or not at all.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_engine.artifacts import checkpoint_problems, engine_problems
from build_engine.commands import Command, Toolbox, build_command, checkpoint_command
from build_engine.errors import BuildError
from build_engine.files import locked, replacing
from build_engine.hub import fetch
from build_engine.manifest import Manifest
from build_engine.process import run_program
from build_engine.production import (
    Place,
    place_engine,
    repository_inputs,
    write_manifest,
    write_models,
)
from build_engine.readiness import FreeBytes, free_bytes, require_release, require_space
from build_engine.spec import EngineSpec
from build_engine.stages import Board, Stage, Workshop
from build_engine.verify import verify

STAGES = ("download", "convert", "compile", "repository", "verify")
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


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

    @property
    def workshop(self) -> Workshop:
        """Where the stages are kept."""
        return Workshop(self.output, self.board)

    @property
    def repository(self) -> Path:
        """The model repository that Triton is given."""
        return self.output / "repository"

    @property
    def download(self) -> Stage:
        """The model's weights, and those of its EAGLE heads, as links into the hub's cache."""
        wanted = [self.spec.model, self.spec.speculative.eagle]
        sources = {
            name: {"id": weights.id, "revision": weights.revision}
            for name, weights in zip(("model", "eagle"), wanted, strict=True)
            if weights is not None
        }

        def make(folder: Path, log: Path) -> None:
            for name, weights in zip(("model", "eagle"), wanted, strict=True):
                if weights is not None:
                    fetch(weights, folder / name, self._moved)

        return Stage("download", sources, make)

    @property
    def convert(self) -> Stage:
        """The TensorRT-LLM checkpoint, quantized where the spec says so."""
        upstream = self.download
        model = self.workshop.result(upstream)

        def make(folder: Path, log: Path) -> None:
            self._run(self._checkpoint_command(model, folder), "convert", log)
            _refuse(checkpoint_problems(self.spec, folder), "the checkpoint is not as asked for")

        command = self._checkpoint_command(Path("DOWNLOAD"), Path("CHECKPOINT"))
        return Stage("convert", self._inputs(command, upstream), make)

    @property
    def compile(self) -> Stage:
        """The engine."""
        upstream = self.convert
        checkpoint = self.workshop.result(upstream)

        def make(folder: Path, log: Path) -> None:
            _refuse(checkpoint_problems(self.spec, checkpoint), "the checkpoint cannot be compiled")
            command = build_command(self.spec, self.tools, checkpoint, folder)
            self._run(command, "compile", log)
            _refuse(engine_problems(self.spec, folder), "the engine is not as asked for")

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
        eagle = downloaded / "eagle" if self.spec.speculative.eagle else None
        return checkpoint_command(self.spec, tools, downloaded / "model", output, eagle)

    def _inputs(self, command: Command, upstream: Stage) -> dict[str, Any]:
        """Return what decides a tool's output: release, arguments, and what it works on."""
        arguments = list(command.argv[1:])
        release = self.spec.tensorrt_llm
        return {"tensorrt_llm": release, "arguments": arguments, "upstream": upstream.key}

    def _run(self, command: Command, stage: str, log: Path) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ {command}\n")
        environment = {key: value for key, value in os.environ.items() if key not in _SECRETS}
        run_program(command.argv, log, lambda line: self.board.said(stage, line), environment)

    def _moved(self, done_bytes: int, total_bytes: int) -> None:
        self.board.moved("download", done_bytes, total_bytes)


@dataclass(frozen=True)
class Choice:
    """Which stages to run: one, those from one on, or all; `force` makes done ones again."""

    only: str = ""
    since: str = ""
    force: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The stages to run, in order."""
        if self.only:
            return (self.only,)
        return STAGES[STAGES.index(self.since) :] if self.since else STAGES

    @property
    def again(self) -> bool:
        """Whether chosen stages are made even though they are done."""
        return self.force or bool(self.since)


def run_build(build: Build, choice: Choice) -> None:
    """Run the chosen stages; those that are done already are skipped, and so are all that lead to
    a repository that is there as asked.

    Raises BuildError, after which the same command continues where this one stopped.
    """
    build.output.mkdir(parents=True, exist_ok=True)
    with locked(build.output, waits=False):
        build.workshop.clear_unfinished()
        if _is_finished(build, choice):
            for name in STAGES[:-1]:
                build.board.skipped(name)
        else:
            _run_stages(build, choice)
        if "verify" in choice.names:
            verify_repository(build)


def _is_finished(build: Build, choice: Choice) -> bool:
    if choice.only == "verify":
        return True
    return not (choice.only or choice.again) and _is_current(build)


def _run_stages(build: Build, choice: Choice) -> None:
    due = [stage for stage in build.stages if _is_due(build, stage, choice)]
    _require_upstream(build, choice)
    if any(stage.name != "download" for stage in due):
        require_release(build.spec, build.tools)
    require_space(build.spec, _places(build, due), build.free_bytes)
    for stage in build.stages:
        if stage.name in choice.names:
            build.workshop.run(stage, again=choice.again)
    if "repository" in choice.names:
        write_repository(build, again=choice.again)


def _is_due(build: Build, stage: Stage, choice: Choice) -> bool:
    if stage.name not in choice.names:
        return False
    return choice.again or not build.workshop.is_done(stage)


def _require_upstream(build: Build, choice: Choice) -> None:
    """Refuse to start in the middle where what comes before is not there."""
    workshop = build.workshop
    first = STAGES.index(choice.names[0])
    for stage in build.stages[:first]:
        if not workshop.is_done(stage):
            raise BuildError(
                f"{choice.names[0]} needs {stage.name}, which is not done here"
                f"{_other_releases(build, stage)}: run without --stage and --from, "
                f"or from it: --from {stage.name}"
            )


def _other_releases(build: Build, stage: Stage) -> str:
    found = {str(inputs.get("tensorrt_llm", "")) for inputs in build.workshop.others(stage)}
    others = sorted(found - {"", build.spec.tensorrt_llm})
    if not others:
        return ""
    return f" for TensorRT-LLM {build.spec.tensorrt_llm} (there is one of {', '.join(others)})"


def _places(build: Build, due: Iterable[Stage]) -> dict[str, Path]:
    names = (stage.name for stage in due)
    return {name: build.hub_cache if name == "download" else build.output for name in names}


def write_repository(build: Build, *, again: bool = False) -> None:
    """Write the model repository around the engine, unless it is there as asked."""
    if not again and _is_current(build):
        build.board.skipped("repository")
        return
    build.board.started("repository")
    began = time.monotonic()
    tokenizer = build.workshop.result(build.download) / "model"
    engine = build.workshop.result(build.compile)
    with replacing(build.repository) as staging:
        write_models(build.spec, build.place, tokenizer, staging)
        place_engine(engine, staging)
        write_manifest(
            build.spec,
            staging,
            _inputs_of_repository(build),
            lambda _, *moved: build.board.moved("repository", *moved),
        )
    build.board.finished("repository", time.monotonic() - began)


def _inputs_of_repository(build: Build) -> dict[str, Any]:
    return repository_inputs(build.spec, build.place, build.compile.key)


def _is_current(build: Build) -> bool:
    try:
        manifest = Manifest.read(build.repository)
    except BuildError:
        return False
    return manifest.inputs == _inputs_of_repository(build) and manifest.is_whole(build.repository)


def verify_repository(build: Build) -> None:
    """Raise BuildError where the repository is not what its spec says."""
    build.board.started("verify")
    began = time.monotonic()
    checks = verify(build.repository)
    problems = (f"{check.name}: {problem}" for check in checks for problem in check.problems)
    _refuse(problems, f"{build.repository} does not verify")
    build.board.finished("verify", time.monotonic() - began)


def _refuse(problems: Iterable[str], headline: str) -> None:
    found = list(problems)
    if found:
        raise BuildError("\n".join([f"{headline}:", *(f"  {problem}" for problem in found)]))
