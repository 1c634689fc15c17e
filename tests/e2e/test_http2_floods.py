"""Floods from a process of their own on a real gateway: what a good client beside them notices.

The attacker and the good client have one core, where the attacker yields, and the gateway has the
other. The same rounds without a flood keep the attacker's process as busy: what differs is what
the gateway does.
"""

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.client import CallFailed, Client
from gateway.v1.tokenize_pb2 import TokenizeRequest
from tests.conftest import Figure
from tests.e2e.conftest import Stack, free_port
from tests.http2_floods import FLOODS

pytestmark = pytest.mark.alone

CALM_S, FLOOD_S = 0.5, 1.0
TRIES = 4
MOST = 1.5
# Here so much arrives that is no breach, calls or bytes, that taking it is work of its own.
MOST_OF_WORK = 6.0
WORK = ("settings of 1,024 streams", "gzip bombs, 20 connections", "half messages, 20 connections")
KEPT_MIB = 64
SETTLED_S = 20


@dataclass(frozen=True)
class Round:
    """What a good client saw, and the attacker did."""

    p99_ms: float
    max_ms: float
    sent: int
    connections: int


class Gateway:
    """A gateway in a process of its own, on a core of its own where there are two."""

    def __init__(self, folder: Path, triton: str, tokenizer: Path) -> None:
        self.grpc_port = free_port()
        command = [sys.executable, "-m", "gateway", "serve", f"--triton={triton}"]
        command += ["--http-port=0", f"--grpc-port={self.grpc_port}", f"--tokenizer={tokenizer}"]
        with (folder / "gateway.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--model-id=m"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "GATEWAY_LOG_LEVEL": "warning"},
            )
        self.client = Client(f"127.0.0.1:{self.grpc_port}")

    def wait_ready(self) -> None:
        """Wait until it answers, half a minute at most. Raises CallFailed."""
        ends_at = time.monotonic() + 30
        while True:
            try:
                self.ask()
                return
            except CallFailed:
                if time.monotonic() > ends_at:
                    raise
                time.sleep(0.1)

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def ask(self) -> float:
        """Return how many milliseconds a small call takes."""
        began = time.perf_counter()
        self.client.tokenize(TokenizeRequest(model="m", text="hello"), timeout_s=60)
        return (time.perf_counter() - began) * 1000


@pytest.fixture(scope="module")
def gateway(scripted: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    tokenizer = scripted.repository / "tensorrt_llm" / "tokenizer"
    running = Gateway(tmp_path_factory.mktemp("floods"), scripted.triton, tokenizer)
    cores = sorted(os.sched_getaffinity(0))
    try:
        running.wait_ready()
        os.sched_setaffinity(running.process.pid, cores[:1])
        os.sched_setaffinity(0, cores[-1:])
        yield running
    finally:
        os.sched_setaffinity(0, cores)
        running.process.kill()
        running.process.wait()


class Attacker:
    """A process that floods when it is told to, and yields its core to the good client."""

    def __init__(self, name: str) -> None:
        command = ["nice", "-n", "19", sys.executable, "-m", "tests.http2_floods", name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin and self._process.stdout
        self._orders, self._answers = self._process.stdin, self._process.stdout
        assert self._answers.readline() == "ready\n"

    def round(self, gateway: Gateway, port: int, seconds: float) -> Round:
        """Ask again and again while the port is flooded, or this process only as busy."""
        self._orders.write(f"{port} {seconds}\n")
        self._orders.flush()
        took = []
        while not select.select([self._answers], [], [], 0)[0]:
            took.append(gateway.ask())
        sent, connections = map(int, self._answers.readline().split())
        took.sort()
        return Round(took[int(len(took) * 0.99)], took[-1], sent, connections)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def attacker(name: str) -> Iterator[Attacker]:
    attacker = Attacker(name)
    yield attacker
    attacker.end()


def settled_mib(gateway: Gateway, limit: float) -> float:
    """Return the memory in use, once it is at most so much or after some looks of its keeper."""
    for _ in range(SETTLED_S * 10):
        if (now := gateway.resident_mib()) <= limit:
            break
        time.sleep(0.1)
    return now


@pytest.mark.parametrize("name", FLOODS)
def test_a_good_client_notices_no_flood(
    gateway: Gateway, attacker: Attacker, name: str, figure: Figure
) -> None:
    before_mib = gateway.resident_mib()
    most = MOST_OF_WORK if name in WORK else MOST
    for _ in range(TRIES):
        calm = attacker.round(gateway, 0, CALM_S)
        beside = attacker.round(gateway, gateway.grpc_port, FLOOD_S)
        if beside.p99_ms <= most * calm.p99_ms:
            break

    after_mib = settled_mib(gateway, before_mib + KEPT_MIB)
    figure(
        f"flood: {name:40} p99 {calm.p99_ms:5.1f} -> {beside.p99_ms:5.1f} ms "
        f"({beside.p99_ms / calm.p99_ms:.1f}x), longest {beside.max_ms:5.1f}; "
        f"{beside.sent / 1e6:6.1f} MB on {beside.connections} connections, "
        f"memory {after_mib - before_mib:+.0f} MiB"
    )
    assert beside.p99_ms <= most * calm.p99_ms
    assert after_mib <= before_mib + KEPT_MIB
