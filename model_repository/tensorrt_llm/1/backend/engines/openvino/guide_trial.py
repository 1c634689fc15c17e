"""A process that compiles guides to see whether they may be compiled where requests are served.

Compiling cannot be interrupted, and a guide of a few bytes may take minutes and gigabytes: the
kernel ends this process where one takes more than its share.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

from backend.contract import Guide, Refused

CPU_S = 10
_AGAIN_S = 0.25
_WALL_S = 120
_START_S = 120
_MEMORY_BYTES = 2 << 30
_NICE = 10
_READY = b"ready"


class GuideTrial:
    """Tries guides in a process of its own, started again after one that was too much for it.

    One thread at a time may start it and check guides; any may close it. `again_s` is how much CPU
    time a guide may take once it is compiled.
    """

    def __init__(self, model: Path, again_s: float = _AGAIN_S) -> None:
        self._model = model
        self._again_s = again_s
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._is_closed = False

    def start(self) -> None:
        """Start the process, which loads the tokenizer meanwhile, unless there is one."""
        if self._is_closed or self._process is not None:
            return
        self._connection, theirs = Pipe()
        arguments = [str(theirs.fileno()), str(self._model), str(self._again_s)]
        command = [_python(), "-m", __name__, *arguments]
        self._process = subprocess.Popen(
            command,
            cwd=Path(__file__).parents[3],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        self._is_ready = False
        theirs.close()

    def check(self, guide: Guide) -> None:
        """Return if the guide compiles within its share; raise Refused with the reason if not."""
        self.start()
        try:
            self._await_ready()
            self._connection.send_bytes(json.dumps([guide.kind, guide.text]).encode())
            reason = self._receive(_WALL_S).decode()
        except (EOFError, OSError):
            self._end()
            self.start()
            raise Refused(f"invalid guide: it takes more than {CPU_S} s to compile") from None
        if reason:
            raise Refused(reason)

    def close(self) -> None:
        """End the process for good; a check under way is refused."""
        self._is_closed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _await_ready(self) -> None:
        if not self._is_ready:
            self._receive(_START_S)
            self._is_ready = True

    def _receive(self, patience_s: float) -> bytes:
        if not self._connection.poll(patience_s):
            raise EOFError
        return self._connection.recv_bytes()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._connection.close()
            self._process = None


def _python() -> str:
    """The interpreter that belongs to this process, which may have it built in."""
    name = Path(sys.executable or "").name
    return sys.executable if name.startswith("python") else str(Path(sys.prefix, "bin", "python"))


def _serve(connection: Connection, model: Path, again_s: float) -> None:
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import openvino_genai

    from backend.engines.openvino.guides import GuideCheck

    check = GuideCheck(openvino_genai.Tokenizer(model)).check
    _limit_memory()
    connection.send_bytes(_READY)
    while True:
        guide = Guide(*json.loads(connection.recv_bytes()))
        _limit_time()
        try:
            check(guide)
            _check_again(check, guide, again_s)
            connection.send_bytes(b"")
        except Refused as refused:
            connection.send_bytes(str(refused).encode())


def _check_again(check: Callable[[Guide], None], guide: Guide, most_s: float) -> None:
    """Raise Refused where a guide costs too much even once it is compiled: all wait for that."""
    started_s = time.process_time()
    check(guide)
    if time.process_time() - started_s > most_s:
        raise Refused("invalid guide: it is too large")


def _limit_time() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + CPU_S, hard))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    with contextlib.suppress(EOFError):
        _serve(Connection(int(sys.argv[1])), Path(sys.argv[2]), float(sys.argv[3]))
