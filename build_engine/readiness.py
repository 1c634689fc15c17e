"""Whether this machine can make an engine: the right TensorRT-LLM, and room. Makes nothing."""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from build_engine.artifacts import same_release
from build_engine.commands import Toolbox, checkpoint_script
from build_engine.errors import BuildError
from build_engine.memory import checkpoint_bytes, download_bytes
from build_engine.spec import EngineSpec

_PROBE = "import importlib.metadata as m; print(m.version('tensorrt_llm'))"
# On top of what the arithmetic says a stage writes: tokenizers, timing caches, file systems.
_DISK_SPARE = 1.05

FreeBytes = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """Return what the file system of a folder can still take."""
    return shutil.disk_usage(folder).free


def require_release(spec: EngineSpec, tools: Toolbox) -> None:
    """Raise BuildError unless the tools here are of the TensorRT-LLM that the spec names."""
    inside = f"build inside {spec.release.container} (docker compose --profile gpu run build ...)"
    try:
        probe = subprocess.run(
            [tools.python, "-c", _PROBE],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{tools.python} does not run ({error}): {inside}") from error
    if probe.returncode != 0:
        raise BuildError(f"TensorRT-LLM is not installed for {tools.python} here: {inside}")
    found = probe.stdout.strip()
    if not same_release(found, spec.tensorrt_llm):
        raise BuildError(
            f"TensorRT-LLM {found} is installed here, but the spec names {spec.tensorrt_llm}; "
            f"engines load only in the version that built them: {inside}, or say "
            f"--tensorrt-llm {found}"
        )
    script = tools.examples / checkpoint_script(spec)[1]
    if not script.is_file():
        commit = spec.tensorrt_llm_commit or f"v{found}"
        raise BuildError(
            f"{script} is not there (Triton's containers have the examples from TensorRT-LLM 0.18 "
            f"on): give those of {commit} with --examples DIR"
        )


def require_space(spec: EngineSpec, due: Mapping[str, Path], free_bytes: FreeBytes) -> None:
    """Raise BuildError where a file system cannot take what stages are going to write, given the
    folder that each of them writes to."""
    once = checkpoint_bytes(spec)
    sizes = {"download": download_bytes(spec), "convert": once, "compile": once}
    needs: dict[int, tuple[Path, float]] = {}
    for stage, folder in due.items():
        there = next(path for path in (folder, *folder.parents) if path.exists())
        device = there.stat().st_dev
        _, needed = needs.get(device, (there, 0.0))
        needs[device] = there, needed + sizes[stage] * _DISK_SPARE
    for there, needed in needs.values():
        free = free_bytes(there)
        if free < needed:
            raise BuildError(
                f"{there} has {free / 1e9:.1f} GB free, and the build writes {needed / 1e9:.1f} GB "
                "there: free some, or choose another place with --output or HF_HOME"
            )
