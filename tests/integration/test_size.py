"""No request makes another caller wait, however large it is and in whatever place.

A wait is told in the gateway's own CPU time: what its process used from the moment a small request
was sent until it was answered. Unlike a time by the clock it does not grow on a machine that is
busy with something else. The lesser of both counts: while the one who waits is kept from looking,
the gateway goes on. A wait that is too long is looked at again, as what a request costs comes
again, and what a machine does to processes does not. And a second of CPU is not everywhere the
same, least where a core's other thread is busy: it is put in relation to what reading some JSON
takes, here and now.
"""

import http.client
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import grpc
import pytest
import yaml
from pydantic_core import from_json

from bench.process import command, cpu_s, free_port, rss_mib, wait_ready
from gateway.app import create_app
from gateway.models import Models
from gateway.settings import Settings
from tests.conftest import Figure
from tests.floods import Flood, grpc_floods, http_floods

pytestmark = pytest.mark.alone

MODELS = ("llama-3.1", "tokenizer")
MAX_WAIT_S = 0.1
# What the kernel counts CPU time in, at both ends of a wait.
TICKS_S = 2 / os.sysconf("SC_CLK_TCK")
SMALL_BYTES = 10_000
ATTEMPTS = 6
REFERENCE = b'"%s"' % (rb"\n" * 2**22)
REFERENCE_S = 0.03
MAX_GROWTH_MIB = 20
MEMORY_TIMEOUT_S = 60
TIMEOUT_S = 60
BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE)

Send = Callable[[Flood], None]


class Gateway(NamedTuple):
    """A process that serves, and its ports."""

    pid: int
    port: int
    grpc_port: int


@pytest.fixture(scope="module")
def gateway(llama3_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before a mock of Triton, whose models write prompts by code and by template."""
    folder = tmp_path_factory.mktemp("size")
    port, grpc_port, triton = (free_port() for _ in range(3))
    common = {"tokenizer": str(llama3_folder), "triton": {"address": f"127.0.0.1:{triton}"}}
    models = [{"id": name, "template": name, **common} for name in MODELS]
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": models}))
    served = ["serve", f"--models={folder / 'models.yaml'}"]
    served += [f"--http-port={port}", f"--grpc-port={grpc_port}"]
    # As large as bodies come; and what is remembered on purpose is not to be taken for a leak.
    limits = {"GATEWAY_MAX_BODY_BYTES": str(16 * 2**20), "GATEWAY_PROMPT_CACHE_BYTES": "1000000"}
    mocked = ["bench.mock_triton", f"--port={triton}", "--pace-ms=0"]
    with (
        command([sys.executable, "-m", *mocked], {}, folder / "triton.log"),
        command([sys.executable, "-m", "gateway", *served], limits, folder / "gateway.log") as own,
    ):
        wait_ready(f"http://127.0.0.1:{port}")
        yield Gateway(own.pid, port, grpc_port)


def wait_until(holds: Callable[[], bool], timeout_s: float) -> None:
    """Return once something holds, or when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)


class Waits:
    """Asks a small thing over and over, and knows the longest wait for it, in seconds."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._is_over = Event()
        self._thread = Thread(target=self._ask, daemon=True)
        self.longest = 0.0
        self.count = 0

    def __enter__(self) -> "Waits":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._gateway.port, timeout=TIMEOUT_S)
        while not self._is_over.is_set():
            began, used = time.monotonic(), cpu_s(self._gateway.pid)
            connection.request("GET", "/health/live")
            connection.getresponse().read()
            waited = min(time.monotonic() - began, cpu_s(self._gateway.pid) - used)
            self.longest = max(self.longest, waited)
            self.count += 1
        connection.close()


def slowness() -> float:
    """Return how many times as long as it should the CPU takes for some work; 1 at least."""
    began = time.process_time()
    from_json(REFERENCE)
    return max(1.0, (time.process_time() - began) / REFERENCE_S)


def longest_wait(gateway: Gateway, send: Send, flood: Flood) -> float:
    """Return how long another caller waits while a request is answered: the least of attempts."""
    longest = float("inf")
    for _ in range(ATTEMPTS):
        with Waits(gateway) as waits:
            send(flood)
        longest = min(longest, waits.longest / slowness())
        if longest <= MAX_WAIT_S + TICKS_S:
            break
    return longest


def try_floods(
    gateway: Gateway, send: Send, floods: Iterator[Flood], face: str, figure: Figure
) -> None:
    """Send every request; nobody may wait for any, and memory comes back."""
    before = rss_mib(gateway.pid)
    waits = {flood.name: longest_wait(gateway, send, flood) for flood in floods}
    peak = rss_mib(gateway.pid)
    wait_until(lambda: rss_mib(gateway.pid) < before + MAX_GROWTH_MIB, MEMORY_TIMEOUT_S)

    worst = max(waits, key=lambda name: waits[name])
    grown = rss_mib(gateway.pid) - before
    figure(
        f"{len(waits)} large requests over {face}: others waited {waits[worst] * 1000:.0f} ms of "
        f"CPU at most ({worst}); memory {before:.0f} MiB before, {peak:.0f} at the end, "
        f"{grown:+.0f} later"
    )
    assert {name: wait for name, wait in waits.items() if wait > MAX_WAIT_S + TICKS_S} == {}
    assert grown < MAX_GROWTH_MIB


@pytest.mark.timeout(1200)
def test_nobody_waits_for_a_large_request_over_http(gateway: Gateway, figure: Figure) -> None:
    document = create_app(Settings(), Models()).openapi()

    def send(flood: Flood) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=TIMEOUT_S)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", flood.target, flood.body, headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        assert response.status < 500, (flood.name, answer)

    # What the process makes once is there before its memory is looked at.
    for flood in http_floods(document, MODELS):
        if len(flood.body) < SMALL_BYTES:
            send(flood)
    try_floods(gateway, send, http_floods(document, MODELS), "HTTP", figure)


def test_nobody_waits_for_a_large_request_over_grpc(gateway: Gateway, figure: Figure) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:

        def send(flood: Flood) -> None:
            call = channel.unary_unary(f"/gateway.v1.{flood.target}")
            try:
                call(flood.body, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                assert error.code() not in BROKEN, (flood.name, error.details())

        send(Flood("", "ChatService/CreateChatCompletion", b""))
        try_floods(gateway, send, grpc_floods(MODELS), "gRPC", figure)
