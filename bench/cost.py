"""CPU microseconds per streamed token, and what else a gateway costs, over a mock Triton.

    python -m bench.cost --tokenizer DIR
"""

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

from bench.load import Load, Outcome, run

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return user and system time of a process and its descendants, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
    return own + sum(cpu_s(int(child)) for child in children)


def rss_mib(pid: int) -> float:
    """Return a process's resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module while the block lasts."""
    child = subprocess.Popen(
        [sys.executable, "-m", *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)


@contextlib.contextmanager
def gateway(tokenizer: Path, pace_ms: float) -> Iterator[tuple[str, int]]:
    """Run a mock Triton and a gateway before it; yield the gateway's URL and process id."""
    triton_port, port = free_port(), free_port()
    os.environ["GATEWAY_LOG_LEVEL"] = "warning"
    with (
        process("bench.mock_triton", f"--port={triton_port}", f"--pace-ms={pace_ms}"),
        process(
            "gateway", "serve", f"--triton=127.0.0.1:{triton_port}", f"--tokenizer={tokenizer}",
            "--model-id=bench", f"--http-port={port}", "--grpc-port=0",
        ) as child,
    ):  # fmt: skip
        wait_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", child.pid


def wait_ready(url: str) -> None:
    """Wait until a gateway can serve."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urlopen(f"{url}/health/ready") as response:
            if response.status == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{url} is not ready")


def measure(load: Load, pid: int) -> tuple[float, Outcome]:
    """Run a load; return the gateway's CPU seconds for it, and the outcome."""
    before = cpu_s(pid)
    outcome = asyncio.run(run(load))
    return cpu_s(pid) - before, outcome


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for pace_ms, streams, tokens in ((20, 32, 256), (20, 128, 128), (0, 32, 256)):
        with gateway(options.tokenizer, pace_ms) as (url, pid):
            measure(Load(url, "bench", streams, 32), pid)
            costs = []
            for _ in range(options.repeats):
                load = Load(url, "bench", streams, tokens)
                cpu, outcome = measure(load, pid)
                costs.append(cpu * 1e6 / load.total_tokens)
                assert not outcome.failed
            print(f"C={streams:3} pace {pace_ms:2} ms: {statistics.median(costs):6.1f} us/token {[round(c,1) for c in costs]}")
    with gateway(options.tokenizer, 0) as (url, pid):
        measure(Load(url, "bench", 32, 64, stream=False), pid)
        load = Load(url, "bench", 32, 64, rounds=20, stream=False)
        cpu, _ = measure(load, pid)
        print(f"not streamed, 64 tokens: {cpu * 1e3 / (32 * 20):.2f} ms/request")
        first = [measure(Load(url, "bench", 1, 2), pid)[1].first_token_s[0] for _ in range(30)]
        print(f"first token, C=1: {statistics.median(first) * 1e3:.2f} ms; RSS {rss_mib(pid):.0f} MiB")


if __name__ == "__main__":
    main()
