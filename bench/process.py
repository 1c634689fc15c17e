"""Processes under measurement: starting them, waiting for them, what they use. Knows Linux."""

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
START_TIMEOUT_S = 60


def cpu_s(pid: int) -> float:
    """Return user and system time of a process and its descendants, in seconds."""
    return sum(cpu_by_process(pid).values())


def cpu_by_process(pid: int) -> dict[int, float]:
    """Return the same for each of these processes alone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    own = {pid: (int(fields[11]) + int(fields[12])) / CLOCK_TICKS}
    for child in children(pid):
        own |= cpu_by_process(child)
    return own


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process and its descendants."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    own = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return own + sum(rss_mib(child) for child in children(pid))


def children(pid: int) -> list[int]:
    """Return the processes that any thread of a process has started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text().split()]


def allow_many_connections() -> None:
    """Raise this process's limit of open files, and with it its children's, as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def command(
    words: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the block lasts."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module while the block lasts."""
    with command([sys.executable, "-m", *words], {}, Path(os.devnull)) as child:
        yield child


def wait_listening(port: int, child: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a process listens on a loopback port; show its log if it never does."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on {port}; its log ends:\n{log.read_text()[-2000:]}")


def wait_ready(url: str) -> None:
    """Wait until a gateway of ours can serve."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urlopen(f"{url}/health/ready") as response:
            if response.status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{url} is not ready")
