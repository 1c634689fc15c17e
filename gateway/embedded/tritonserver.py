"""A real tritonserver, out of the nvidia-pytriton wheel, as a child of this process.

What a platform must offer is judged in `platform`; nothing here knows the gateway's own server.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from gateway.embedded.platform import Platform, check_platform

_HOST = "127.0.0.1"
_POLL_S = 0.05
_DRAIN_S = 5
_TAIL_LINES, _TAIL_BYTES = 25, 2**16
# Informational lines, and the tables that follow the errors they repeat.
_CHATTER = re.compile(r"I\d{4} |[|+]")
# Asks the kernel (PR_SET_PDEATHSIG = 1) for a SIGTERM when the parent dies, then becomes argv[2:].
_LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class TritonFailed(Exception):
    """tritonserver ended, or did not become ready; the message holds the end of its log."""


@dataclass(frozen=True)
class Ports:
    """Where tritonserver listens on the loopback interface; 0 takes a free port."""

    grpc: int = 0
    http: int = 0
    metrics: int = 0


class TritonServer:
    """One tritonserver over a model repository, bound to the loopback interface.

    Raises PlatformUnsupported when constructed where the wheel cannot run.
    """

    def __init__(
        self,
        repository: Path,
        *,
        log_file: Path,
        ports: Ports = Ports(),
        arguments: Sequence[str] = (),
    ) -> None:
        self._platform = Platform.detect()
        check_platform(self._platform)
        self.repository = repository
        self.log_file = log_file
        self.ports = _fill(ports)
        self._arguments = arguments
        self.shm_prefix = f"gateway-{secrets.token_hex(8)}-"
        self._cleanup = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._num_kept = 0

    @property
    def grpc_address(self) -> str:
        """host:port of the KServe gRPC service."""
        return f"{_HOST}:{self.ports.grpc}"

    @property
    def http_address(self) -> str:
        """host:port of the KServe HTTP service."""
        return f"{_HOST}:{self.ports.http}"

    @property
    def metrics_address(self) -> str:
        """host:port of the Prometheus endpoint, whose path is /metrics."""
        return f"{_HOST}:{self.ports.metrics}"

    @property
    def pid(self) -> int:
        """Process id of tritonserver, and of the process group its models run in."""
        return self._running.pid

    def start(self) -> None:
        """Start the process and return at once; `wait_ready` tells when it serves.

        The process ends with the thread that called this, as well as on `stop`: Linux ties a
        child's parent-death signal to the thread that made it, so call it from a lasting one.
        """
        log = self._cleanup.enter_context(self.log_file.open("wb"))
        backends = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="gateway-"))
        self._cleanup.callback(self._remove_shared_memory)
        self._install_backend(Path(backends, "python"))
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _LAUNCH, str(os.getpid()), *self._command(Path(backends))],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the server and every model it loads can take requests.

        Raises TritonFailed when the process ends first, or after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            if ending := self.ending():
                raise TritonFailed(self.report(f"tritonserver {ending}"))
            if time.monotonic() > deadline:
                raise TritonFailed(self.report(f"tritonserver not ready after {timeout_s:g} s"))
            time.sleep(_POLL_S)

    def ending(self) -> str:
        """Return how the process ended; nothing while it runs."""
        code = self._running.poll()
        if code is None:
            return ""
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with code {code}"

    def is_ready(self) -> bool:
        """Tell whether the server says that it and all of its models can take requests."""
        return self._answers("ready")

    def is_live(self) -> bool:
        """Tell whether the server answers at all."""
        return self._answers("live")

    def log_tail(self) -> str:
        """Return the last of what the process has written."""
        with self.log_file.open("rb") as log:
            log.seek(max(0, self.log_file.stat().st_size - _TAIL_BYTES))
            return log.read().decode(errors="replace")

    def report(self, headline: str) -> str:
        """Return the headline, and what is telling of the end of the log."""
        lines = self.log_tail().splitlines()
        telling = [line for line in lines if line and not _CHATTER.match(line)]
        return "\n".join([f"{headline}; from the end of {self.log_file}:", *telling[-_TAIL_LINES:]])

    def keep_log(self) -> Path:
        """Put the log out of the way of the next start; return where it is."""
        self._num_kept += 1
        kept = self.log_file.with_stem(f"{self.log_file.stem}-{self._num_kept}")
        self.log_file.rename(kept)
        return kept

    def stop(self, grace_s: float = 10) -> None:
        """End the server and its model processes, and remove what they left behind.

        Asks with SIGTERM; kills the process group once `grace_s` seconds have passed.
        """
        process, self._process = self._process, None
        with self._cleanup:
            if process is not None:
                _end(process, grace_s)

    def __enter__(self) -> "TritonServer":
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("tritonserver was not started")
        return self._process

    def _install_backend(self, target: Path) -> None:
        home, stub = self._platform.tritonserver, self._platform.stub
        assert home is not None and stub is not None  # check_platform saw to it
        shutil.copytree(home / "backends" / "python", target)
        shutil.copy2(stub, target)

    def _command(self, backends: Path) -> list[str]:
        return [
            f"{self._platform.tritonserver}/bin/tritonserver",
            f"--model-repository={self.repository.resolve()}",
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            f"--exit-timeout-secs={_DRAIN_S}",
            f"--grpc-address={_HOST}",
            f"--grpc-port={self.ports.grpc}",
            f"--http-address={_HOST}",
            f"--http-port={self.ports.http}",
            f"--metrics-address={_HOST}",
            f"--metrics-port={self.ports.metrics}",
            *self._arguments,
        ]

    def _environment(self) -> dict[str, str]:
        libpython, home = self._platform.libpython, self._platform.tritonserver
        assert libpython is not None and home is not None  # check_platform saw to it
        return {
            **os.environ,
            "LD_LIBRARY_PATH": f"{libpython.parent}:{home.parents[1] / 'nvidia_pytriton.libs'}",
            "PYTHONPATH": sysconfig.get_path("platlib"),
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ.get('PATH', os.defpath)}",
        }

    def _answers(self, question: str) -> bool:
        connection = HTTPConnection(self.http_address, timeout=1)
        try:
            connection.request("GET", f"/v2/health/{question}")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _remove_shared_memory(self) -> None:
        for region in Path("/dev/shm").glob(f"{self.shm_prefix}*"):
            region.unlink(missing_ok=True)


def _fill(ports: Ports) -> Ports:
    # Held open together, so that the kernel cannot hand out the same port twice.
    with contextlib.ExitStack() as held:
        return Ports(
            *(port or _free_port(held) for port in (ports.grpc, ports.http, ports.metrics))
        )


def _free_port(held: contextlib.ExitStack) -> int:
    listener = held.enter_context(socket.socket())
    listener.bind((_HOST, 0))
    port: int = listener.getsockname()[1]
    return port


def _end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    try:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    finally:  # also when the wait is interrupted
        _kill_group(process)


def _kill_group(leader: subprocess.Popen[bytes], patience_s: float = 2) -> None:
    """Kill what is left of a process group, and wait until it is gone."""
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
        while time.monotonic() < deadline:
            os.killpg(leader.pid, 0)
            time.sleep(_POLL_S)
