"""The engine's process as the model's sees it: started, spoken to, seen to end."""

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.engines.vllm import wire

_CHUNK_BYTES = 1 << 18
_GRACE_S, _FAREWELL_S = 3.0, 1.0
_WORKER = "backend.engines.vllm.worker"
# Those of Triton's own process: the engine's interpreter has its own libraries.
_NOT_INHERITED = ("PYTHONPATH", "LD_LIBRARY_PATH")
_SPOKEN = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1"}


class EngineEnded(RuntimeError):
    """The engine's process is gone; the message says how it ended."""


@dataclass(frozen=True)
class Program:
    """What to start: an interpreter that has vllm, and the arguments of its AsyncEngineArgs.

    Without `python` it is the interpreter of this process, with all that it sees.
    """

    arguments: Mapping[str, Any]
    python: str = ""


def leave(code: int) -> None:
    """End this process, once callers have been told that vLLM's ended with this code."""
    print(f"the process of vLLM ended with code {code}: so does the model's", file=sys.stderr)
    sys.stderr.flush()
    time.sleep(_FAREWELL_S)
    os._exit(1)


class EngineProcess:
    """One engine's process, for one thread; `wake` is for any.

    Where it ends by itself, `leave` is called with its exit code: by default this process ends too,
    a second later, for it cannot serve alone and should not seem to. Raises EngineEnded when
    constructed where no interpreter is, or the engine does not load.
    """

    def __init__(self, program: Program, leave: Callable[[int], object] = leave) -> None:
        self._leave = leave
        with contextlib.ExitStack() as opened:
            self._socket, theirs = socket.socketpair()
            self._woken, self._wakes = socket.socketpair()
            for end in (self._socket, self._woken, self._wakes):
                opened.enter_context(end)
            with theirs:
                self._process = _started(program, theirs)
            self._ends = opened.pop_all()
        self._is_closed = False
        self._frames = wire.Frames()
        for waking in (self._woken, self._wakes):
            waking.setblocking(False)
        self._arrivals = self._ends.enter_context(selectors.DefaultSelector())
        self._arrivals.register(self._socket, selectors.EVENT_READ)
        self._arrivals.register(self._woken, selectors.EVENT_READ)
        self.ready = self._await_ready()
        threading.Thread(target=self._follow, name="vLLM's end", daemon=True).start()

    def tell(self, messages: Sequence[wire.ToEngine]) -> None:
        """Send messages. Raises EngineEnded."""
        try:
            self._socket.sendall(wire.frame(messages))
        except OSError:
            raise self._ended() from None

    def listen(self, patience_s: float | None) -> list[wire.FromEngine]:
        """Wait until the engine tells something, or somebody wakes; return what it told.

        Raises EngineEnded.
        """
        told: list[wire.FromEngine] = []
        for key, _ in self._arrivals.select(patience_s):
            if key.fileobj is self._woken:
                self._woken.recv(_CHUNK_BYTES)
            else:
                told += self._received()
        return told

    def wake(self) -> None:
        """End the wait under way, or the next."""
        with contextlib.suppress(OSError):  # so many wakes are waiting already, or it has ended
            self._wakes.send(b"\0")

    def close(self) -> None:
        """End the process: it is asked to, and killed where it stays."""
        self._is_closed = True
        self._ends.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _received(self) -> list[wire.FromEngine]:
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except OSError:
            data = b""
        if not data:
            raise self._ended()
        return self._frames.feed(data, wire.from_engine)

    def _await_ready(self) -> wire.Ready:
        while True:
            for message in self.listen(None):
                if isinstance(message, wire.Ready):
                    return message
                if isinstance(message, wire.Failed):
                    self.close()
                    raise EngineEnded(f"vLLM did not load: {message.reason}")

    def _ended(self) -> EngineEnded:
        code = self._process.wait()
        return EngineEnded(f"the process of vLLM ended with code {code}; Triton's log says why")

    def _follow(self) -> None:
        code = self._process.wait()
        if not self._is_closed:
            self._leave(code)


def _started(program: Program, connection: socket.socket) -> "subprocess.Popen[bytes]":
    command = [program.python or _python(), "-m", _WORKER, str(connection.fileno())]
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not (program.python and name in _NOT_INHERITED)
    }
    try:
        return subprocess.Popen(
            [*command, json.dumps(dict(program.arguments))],
            cwd=Path(__file__).parents[3],
            env=_SPOKEN | inherited,
            pass_fds=[connection.fileno()],
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise EngineEnded(f"no process of vLLM: {program.python}: {error.strerror}") from None


def _python() -> str:
    """The interpreter that belongs to this process, which may have it built in."""
    name = Path(sys.executable or "").name
    return sys.executable if name.startswith("python") else str(Path(sys.prefix, "bin", "python"))
