"""Programs run to their end, their output in a file. Knows none of them by name."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from build_engine.errors import BuildError

_POLL_S = 0.1
_TAIL_LINES = 20
_TAIL_BYTES = 64 * 1024
# Asks the kernel (PR_SET_PDEATHSIG = 1) for a SIGKILL when the parent dies, then becomes argv[2:].
_LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
# What the tools print when they fail for a known reason, and what to do then.
_ADVICE = (
    (r"No space left on device|Errno 28", "free some disk space, then run the same command again"),
    (
        r"CUDA out of memory|OutOfMemory|Cuda Runtime \(out of memory\)",
        "the GPU's memory is full: stop what else uses it, or lower limits.max_num_tokens and "
        "limits.max_batch_size",
    ),
    (
        r"unrecognized arguments|invalid choice",
        "the tool does not know an argument: it is not of the TensorRT-LLM version that the spec "
        "names",
    ),
    (r"No such file or directory: .*convert|can't open file", "give the folder with --examples"),
)


class ProgramFailed(BuildError):
    """A program ended with an error; the message holds the end of its log and what to do."""


def run_program(
    argv: Sequence[str],
    log: Path,
    say: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program; its output goes to `log`, and its latest line to `say` as it comes.

    It does not outlive this process, and its group is killed when this is interrupted.
    Raises ProgramFailed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    launch = [sys.executable, "-ISc", _LAUNCH, str(os.getpid()), *argv]
    with log.open("ab") as output:
        process = subprocess.Popen(
            launch,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                say(last_line(log))
                time.sleep(_POLL_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        raise ProgramFailed(_report(argv[:2], process.returncode, log))


def last_line(log: Path) -> str:
    """Return the latest line of a log that says something."""
    return next((line for line in reversed(_tail(log)) if line.strip()), "")


def _report(program: Sequence[str], code: int, log: Path) -> str:
    lines = _tail(log)[-_TAIL_LINES:]
    text = "\n".join(lines)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    advice = [what for pattern, what in _ADVICE if re.search(pattern, text)]
    if code == -signal.SIGKILL:
        advice.append("the kernel kills what uses too much memory: look at `dmesg`")
    headline = f"{' '.join(program)} {how}; from the end of {log}:"
    return "\n".join([headline, *(f"  {line}" for line in lines), *advice])


def _tail(log: Path) -> list[str]:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace").replace("\r", "\n").splitlines()
