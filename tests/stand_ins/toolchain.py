"""A folder that looks like a TensorRT-LLM container, with the stand-in tools in their places."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from build_engine.versions import release_numbered

ROOT = Path(__file__).parents[2]
_TOOL = "tests.stand_ins.tool"


@dataclass(frozen=True)
class Toolchain:
    """Stand-in tools of a release; `run` gives build-engine an environment where they are found."""

    folder: Path
    hub: str
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def install(self, number: str) -> None:
        """Put the tools of a release in place; another release's are gone."""
        site, binaries = self.folder / "site", self.folder / "bin"
        for old in site.glob("*.dist-info/METADATA"):
            old.unlink()
            old.parent.rmdir()
        facts = site / f"tensorrt_llm-{number}.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {number}\n"
        )
        binaries.mkdir(exist_ok=True)
        _script(binaries / "python3", f'exec {sys.executable} "$@"')
        _script(binaries / "trtllm-build", f'exec {sys.executable} -m {_TOOL} trtllm-build "$@"')
        release = release_numbered(number)
        for script, tool in (
            (release.convert_script, "convert_checkpoint"),
            (release.quantize_script, "quantize"),
            (release.eagle_script, "eagle_convert_checkpoint"),
        ):
            target = self.folder / "examples" / script
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(f"from {_TOOL} import main\nmain({tool!r})\n")

    def environment(self, **more: str) -> dict[str, str]:
        """Variables for a process that is to find the tools and the hub."""
        return {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": f"{self.folder / 'site'}:{ROOT}",
            "HF_ENDPOINT": self.hub,
            "HF_HOME": str(self.folder / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **more,
        }

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start `build-engine` with arguments."""
        program = "from build_engine.cli import main; main()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def stop(self) -> None:
        """Kill what was started and still runs."""
        for process in self.started:
            process.kill()
            finish(process)

    def build(
        self, spec: Path, output: Path, *more: str, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run `build-engine build` to its end."""
        return finish(self.start(*self.arguments(spec, output, *more), **environment))

    def arguments(self, spec: Path, output: Path, *more: str) -> Sequence[str]:
        """The words of `build-engine build`."""
        examples = str(self.folder / "examples")
        return ["build", str(spec), "--output", str(output), "--examples", examples, *more]


def finish(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    """Wait for a process and return what it said."""
    if process.stdout is None or process.stdout.closed:
        return subprocess.CompletedProcess(process.args, process.wait(), "", "")
    with process:
        stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
