"""Who is measured: each gateway, the mock worker it stands before, and how both are started."""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.request import Request, urlopen

from bench.clock import set_pace
from bench.load import Load
from bench.process import START_TIMEOUT_S, command, free_port, wait_listening

MODEL = "bench"
MOCK_TRITON = (sys.executable, "-m", "bench.mock_triton", "--port={worker}")


@dataclass(frozen=True)
class Contender:
    """A gateway under test. In commands and environment {port}, {worker}, ... are filled in.

    A worker whose pace cannot be set has a model for each, of the name that `models` tells.
    """

    name: str
    gateway: Sequence[str]
    worker: Sequence[str] = MOCK_TRITON
    environment: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[float, str] = field(default_factory=dict)


OURS = (
    sys.executable, "-m", "gateway", "serve", "--triton=127.0.0.1:{worker}",
    "--tokenizer={tokenizer}", f"--model-id={MODEL}", "--http-port={port}", "--grpc-port=0",
)  # fmt: skip
NAIVE = (
    sys.executable, "-m", "bench.naive", "--triton=127.0.0.1:{worker}",
    "--tokenizer={tokenizer}", "--port={port}",
)  # fmt: skip
QUIET = {"GATEWAY_LOG_LEVEL": "warning"}

CONTENDERS = (
    Contender("gateway, grpc.aio", OURS, environment={**QUIET, "GATEWAY_TRANSPORT": "grpc"}),
    Contender("gateway, http2", OURS, environment={**QUIET, "GATEWAY_TRANSPORT": "http2"}),
    Contender("naive", NAIVE),
)


@dataclass(frozen=True)
class Running:
    """A gateway that answers: where, its process, its worker's address, the model to ask for."""

    url: str
    pid: int
    worker: str
    models: Mapping[float, str] = field(default_factory=dict)
    model: str = MODEL

    def at_pace(self, pace_ms: float) -> "Running":
        """Return it with a worker that sends a token every so often; 0 is as fast as it can."""
        if self.models:
            return replace(self, model=self.models[pace_ms])
        set_pace(self.worker, pace_ms)
        return self


@contextmanager
def running(contender: Contender, tokenizer: Path) -> Iterator[Running]:
    """Start a contender's own worker, then its gateway; stop both when the block ends."""
    worker = free_port()
    with (
        started(contender.worker, contender, worker, worker, tokenizer),
        before(contender, worker, tokenizer) as gateway,
    ):
        yield gateway.at_pace(0)


@contextmanager
def before(contender: Contender, worker: int, tokenizer: Path) -> Iterator[Running]:
    """Start a contender's gateway before a worker that runs on a port already."""
    port = free_port()
    with started(contender.gateway, contender, port, worker, tokenizer) as (pid, log):
        url = f"http://127.0.0.1:{port}"
        for model in contender.models.values() or [MODEL]:
            wait_answering(url, model, log)
        yield Running(url, pid, f"127.0.0.1:{worker}", contender.models)


@contextmanager
def started(
    words: Sequence[str], contender: Contender, port: int, worker: int, tokenizer: Path
) -> Iterator[tuple[int, Path]]:
    """Run a command with its blanks filled in; yield its process id and log once it listens."""
    names = {"port": port, "worker": worker, "tokenizer": tokenizer, "metrics": free_port()}
    filled = [word.format(**names) for word in words]
    environment = {key: value.format(**names) for key, value in contender.environment.items()}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with command(filled, environment, log) as child:
            wait_listening(port, child, log)
            yield child.pid, log


def wait_answering(url: str, model: str, log: Path) -> None:
    """Wait until a first question is answered; show the log if none ever is."""
    body = Load(url, model, 1, 1, stream=False).body()
    headers = {"Content-Type": "application/json"}
    request = Request(f"{url}/v1/chat/completions", data=body, headers=headers)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(OSError), urlopen(request, timeout=10):
            return
        time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer; its log ends:\n{log.read_text()[-2000:]}")
