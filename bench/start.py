"""How long the gateway takes from exec to its first answers: ready, and the first token.

It stands before a mock Triton that is up already. A first start of each kind is not counted: it
reads files that later ones find in memory, and leaves bytecode where it may.

    python -m bench.start --tokenizer DIR
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from bench.load import Load
from bench.machine import Machine
from bench.process import command, cpu_s, free_port, process, wait_listening

MODEL = "llama"
WORKERS = (1, 4)
PACE_MS = 20
POLL_S = 0.005
TIMEOUT_S = 60


@dataclass(frozen=True)
class Start:
    """One start. Seconds since exec, and what its processes had used when they were ready."""

    ready_s: float
    first_token_s: float
    cpu_s: float


@contextmanager
def mock_triton() -> Iterator[int]:
    """Run a mock while the block lasts; yield its port."""
    port = free_port()
    with process("bench.mock_triton", f"--port={port}", f"--pace-ms={PACE_MS}") as mock:
        wait_listening(port, mock, Path(os.devnull))
        yield port


def start(triton: int, tokenizer: Path, workers: int) -> Start:
    """Start a gateway, ask until it answers, and stop it."""
    port = free_port()
    words = [sys.executable, "-m", "gateway", "serve", f"--triton=127.0.0.1:{triton}"]
    words += [f"--tokenizer={tokenizer}", f"--model-id={MODEL}", f"--workers={workers}"]
    words += [f"--http-port={port}", "--grpc-port=0"]
    started = time.perf_counter()
    with command(words, {}, Path(os.devnull)) as gateway:
        while not is_ready(port):
            if gateway.poll() is not None or time.perf_counter() > started + TIMEOUT_S:
                raise RuntimeError("the gateway does not start")
            time.sleep(POLL_S)
        ready_s, used_s = time.perf_counter() - started, cpu_s(gateway.pid)
        read_first_token(port)
        return Start(ready_s, time.perf_counter() - started, used_s)


def is_ready(port: int) -> bool:
    """Ask a gateway whether it can serve."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    with suppress(OSError):
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    return False


def read_first_token(port: int) -> None:
    """Stream an answer up to its first content."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    body = Load("", MODEL, streams=1, tokens=8).body()
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    response = connection.getresponse()
    while line := response.readline():
        if b'"content":"' in line and b'"content":""' not in line:
            break
    else:
        raise RuntimeError("the stream brought no token")
    connection.close()


def show(workers: int, starts: list[Start]) -> None:
    """Print one line of medians, and the range of what counts most."""
    ready = sorted(each.ready_s for each in starts)
    print(
        f"{workers} worker{'s' * (workers > 1)}:"
        f" ready after {statistics.median(ready):.2f} s ({ready[0]:.2f} to {ready[-1]:.2f}),"
        f" first token after {statistics.median(each.first_token_s for each in starts):.2f} s,"
        f" CPU {statistics.median(each.cpu_s for each in starts):.2f} s"
    )


def main() -> None:
    """Start gateways with one worker and with four, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    machine = Machine()
    with mock_triton() as triton:
        for workers in WORKERS:
            start(triton, options.tokenizer, workers)
            repeats = range(options.repeats)
            show(workers, [start(triton, options.tokenizer, workers) for _ in repeats])
    machine.finish()
    print(machine)


if __name__ == "__main__":
    main()
