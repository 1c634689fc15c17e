"""The processes of a tritonserver, as Linux tells of them."""

import contextlib
from pathlib import Path

GONE, STOPPED = "Z", "T"

_STUB = "triton_python_backend_stub"


def state(pid: int) -> str:
    """Return the state of a process as in proc(5); GONE for one that has ended."""
    try:
        return _stat(Path(f"/proc/{pid}"))[0]
    except OSError:
        return GONE


def stubs(group: int) -> dict[int, str]:
    """Return the processes in a group that run models of the Python backend, and the models."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(_stat(folder)[2]) != group:
                continue
            program, *arguments = (folder / "cmdline").read_text().split("\0")
            if program.endswith(_STUB):  # the first argument is MODEL/VERSION/model.py
                found[int(folder.name)] = Path(arguments[0]).parts[-3]
    return found


def _stat(folder: Path) -> list[str]:
    """Return state, parent, process group and more; before them is a name that may be anything."""
    return (folder / "stat").read_text().rpartition(")")[2].split()
