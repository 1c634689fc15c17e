"""One gateway before several Tritons, each of them a model of its own. Measures nothing."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.contenders import QUIET
from bench.process import children, command, free_port, wait_listening, wait_ready


@dataclass(frozen=True)
class Setup:
    """What stands behind the gateway, and how many processes it has."""

    tokenizer: Path
    workers: int
    tritons: int
    pace_ms: float
    is_real: bool = False

    @property
    def models(self) -> list[str]:
        """What clients call the models, one a Triton."""
        return [f"bench-{number}" for number in range(self.tritons)]


@dataclass(frozen=True)
class Stack:
    """A gateway that serves: where, its process, and those of its Tritons."""

    url: str
    gateway: int
    tritons: list[int]


@contextmanager
def stack(setup: Setup) -> Iterator[Stack]:
    """Run the Tritons and the gateway while the block lasts."""
    start = _real_triton if setup.is_real else _mock_triton
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        ports = []
        for model in setup.models:
            (folder / model).mkdir()
            ports.append(running.enter_context(start(setup, folder / model)))
        tritons = children(os.getpid())
        url, gateway = running.enter_context(_gateway(setup, ports, folder))
        yield Stack(url, gateway, tritons)


@contextmanager
def _mock_triton(setup: Setup, folder: Path) -> Iterator[int]:
    port, log = free_port(), folder / "log"
    words = (
        sys.executable, "-m", "bench.fast_triton", f"--port={port}", f"--pace-ms={setup.pace_ms}",
    )  # fmt: skip
    with command(words, {}, log) as child:
        wait_listening(port, child, log)
        yield port


@contextmanager
def _real_triton(setup: Setup, folder: Path) -> Iterator[int]:
    # Needs more than the gateway does, and the mock is to do without.
    from bench.triton import simulated_triton

    with simulated_triton(folder, setup.tokenizer, setup.pace_ms / 1000) as port:
        yield port


@contextmanager
def _gateway(setup: Setup, triton_ports: list[int], folder: Path) -> Iterator[tuple[str, int]]:
    port, log = free_port(), folder / "gateway.log"
    models = folder / "models.yaml"
    models.write_text(yaml.safe_dump({"models": _models(setup, triton_ports)}))
    words = (
        sys.executable, "-m", "gateway", "serve", f"--models={models}", f"--http-port={port}",
        "--grpc-port=0",
    )  # fmt: skip
    workers = (f"--workers={setup.workers}",) if setup.workers > 1 else ()
    with command((*words, *workers), QUIET, log) as child:
        wait_listening(port, child, log)
        url = f"http://127.0.0.1:{port}"
        # Each question is another connection, and so most likely another process.
        for _ in range(8 * setup.workers):
            wait_ready(url)
        yield url, child.pid


def _models(setup: Setup, triton_ports: list[int]) -> list[dict[str, object]]:
    return [
        {
            "id": model,
            "tokenizer": str(setup.tokenizer),
            "triton": {"address": f"127.0.0.1:{port}"},
        }
        for model, port in zip(setup.models, triton_ports, strict=True)
    ]
