"""From a spec to a repository that Triton loads: download, convert, compile, repository, verify.

Decides which stages are run, and refuses to begin what cannot end well.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from build_engine.errors import BuildError
from build_engine.files import locked, replacing
from build_engine.manifest import Manifest
from build_engine.pipeline import Build, refuse
from build_engine.production import place_engine, repository_inputs, write_manifest, write_models
from build_engine.readiness import require_release, require_space
from build_engine.stages import Stage
from build_engine.verify import verify

STAGES = ("download", "convert", "compile", "repository", "verify")


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
        write_models(build.spec, build.place, tokenizer, engine, staging)
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
    refuse(problems, f"{build.repository} does not verify")
    build.board.finished("verify", time.monotonic() - began)
