"""`gateway serve --workers`: one gateway to its callers, whatever becomes of its processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gateway.v1.model_pb2 import GetModelRequest
from gateway.v1.model_pb2_grpc import ModelServiceStub
from tests.e2e.conftest import Stack, free_port

WORKERS = 3
REQUESTS = 24
LISTEN = "0A"  # a state in /proc/net/tcp


class Gateway:
    """A running `gateway serve --workers`, seen through its ports and its log."""

    def __init__(self, folder: Path, *options: str, http_port: int | None = None) -> None:
        self.folder = folder
        self.port, self.grpc_port = http_port or free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "gateway", "serve", "--model-id=m", *options]
        command += [f"--http-port={self.port}", f"--grpc-port={self.grpc_port}"]
        with (folder / "gateway.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--workers={WORKERS}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
            )

    @property
    def environment(self) -> dict[str, str]:
        names = {"LOG_FORMAT": "json", "LENGTHS_FILE": str(self.folder / "lengths.jsonl")}
        return {f"GATEWAY_{name}": value for name, value in names.items()} | {
            "TMPDIR": str(self.folder)
        }

    def log(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one event."""
        lines = (self.folder / "gateway.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, (self.folder / "gateway.log").read_text()
            time.sleep(0.02)

    def wait_ready(self) -> None:
        """Wait until all workers have their model and listen."""
        self.wait_for(lambda: len(self.log("model_ready")) == WORKERS)
        for port in (self.port, self.grpc_port):
            self.wait_for(lambda port=port: listeners(port) == WORKERS)  # type: ignore[misc]

    def pids(self) -> list[int]:
        """Return the workers that run."""
        pid = self.process.pid
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def ask(self, **fields: Any) -> dict[str, Any]:
        """Ask for one token over a connection of its own."""
        body = {"model": "m", "messages": [{"role": "user", "content": "goes on"}], **fields}
        answer = httpx.post(f"{self.url}/v1/chat/completions", json={"max_tokens": 1, **body})
        answer.raise_for_status()
        return dict(answer.json())

    def stream(self, max_tokens: int, events: list[str]) -> None:
        """Gather the events of a stream, to its end."""
        body = {"model": "m", "messages": [{"role": "user", "content": "goes on"}], "stream": True}
        body |= {"max_tokens": max_tokens, "stream_options": {"include_usage": True}}
        url = f"{self.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=30) as response:
            events.extend(line for line in response.iter_lines() if line)

    def stop(self) -> int:
        """Ask it to stop, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def tokens_of(event: str) -> int:
    """Return how many tokens an answer had, as the usage at its end tells."""
    return int(json.loads(event.removeprefix("data: "))["usage"]["completion_tokens"])


@contextmanager
def running(folder: Path, stack: Stack) -> Iterator[Gateway]:
    """Run a gateway before a stack's Triton, all of its workers being ready."""
    gateway = Gateway(folder, f"--triton={stack.triton}", f"--tokenizer={tokenizer(stack)}")
    try:
        gateway.wait_ready()
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.wait()


def tokenizer(stack: Stack) -> Path:
    return stack.repository / "tensorrt_llm" / "tokenizer"


def listeners(port: int) -> int:
    """Return how many processes listen on a loopback port."""
    places = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    places += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()]
    return sum(place[1].endswith(f":{port:04X}") and place[3] == LISTEN for place in places)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended unseen by its parent does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.fixture(scope="module")
def gateway(scripted: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("workers"), scripted) as gateway:
        yield gateway


def test_workers_share_the_http_port_and_count_as_one(gateway: Gateway) -> None:
    for _ in range(REQUESTS):
        gateway.ask(nobody_knows_this=1)

    served_by = {line["worker"] for line in gateway.log("request") if line["method"] == "POST"}
    metrics = [httpx.get(f"{gateway.url}/metrics").text for _ in range(4)]
    lengths = (gateway.folder / "lengths.jsonl").read_text().splitlines()
    assert len(served_by) > 1
    ignored = f'gateway_ignored_parameters_total{{param="other"}} {REQUESTS}.0'
    assert all(ignored in text.splitlines() for text in metrics)
    assert [json.loads(line)["completion_tokens"] for line in lengths] == [1] * REQUESTS


def test_workers_share_the_grpc_port(gateway: Gateway) -> None:
    for _ in range(REQUESTS):
        alone = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{gateway.grpc_port}", alone) as channel:
            assert ModelServiceStub(channel).GetModel(GetModelRequest(id="m")).id == "m"

    calls = [line for line in gateway.log("request") if line["method"].endswith("GetModel")]
    assert len(calls) == REQUESTS
    assert len({line["worker"] for line in calls}) > 1


def test_a_killed_worker_is_replaced_while_the_others_answer(gateway: Gateway) -> None:
    before = gateway.pids()

    os.kill(before[0], signal.SIGKILL)
    gateway.wait_for(lambda: bool(gateway.log("worker_ended")))
    answers = [gateway.ask()["usage"]["completion_tokens"] for _ in range(REQUESTS)]

    assert answers == [1] * REQUESTS
    gateway.wait_for(lambda: len(gateway.pids()) == WORKERS)
    assert len({*before, *gateway.pids()}) == WORKERS + 1
    assert gateway.log("worker_ended")[0]["ending"] == "killed by SIGKILL"


def test_all_workers_drain_when_the_parent_is_asked_to_stop(
    scripted: Stack, tmp_path: Path
) -> None:
    seen: list[list[str]] = [[] for _ in range(8)]
    with running(tmp_path, scripted) as gateway, ThreadPoolExecutor(len(seen)) as pool:
        for events in seen:
            pool.submit(gateway.stream, 400, events)
        gateway.wait_for(lambda: min(map(len, seen)) > 2)

        assert gateway.stop() == 0

    assert {(tokens_of(events[-2]), events[-1]) for events in seen} == {(400, "data: [DONE]")}
    assert len({line["worker"] for line in gateway.log("request")}) > 1
    assert not list(tmp_path.glob("gateway-metrics-*"))


def test_a_second_signal_waits_for_no_one(scripted: Stack, tmp_path: Path) -> None:
    with running(tmp_path, scripted) as gateway, ThreadPoolExecutor(1) as pool:
        events: list[str] = []
        stream = pool.submit(gateway.stream, 2000, events)
        gateway.wait_for(lambda: len(events) > 2)
        pids = gateway.pids()
        gateway.process.send_signal(signal.SIGINT)
        gateway.wait_for(lambda: bool(gateway.log("stopping")))

        assert gateway.stop() == 1

        stream.result()
    assert "engine_unavailable" in events[-1]
    assert not any(map(is_alive, pids))


def test_workers_die_with_a_parent_that_is_killed(scripted: Stack, tmp_path: Path) -> None:
    with running(tmp_path, scripted) as gateway:
        pids = gateway.pids()

        gateway.process.kill()
        gateway.process.wait()

        assert len(pids) == WORKERS
        gateway.wait_for(lambda: not any(map(is_alive, pids)))


def test_a_taken_port_is_told(scripted: Stack, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        gateway = Gateway(tmp_path, f"--tokenizer={tokenizer(scripted)}", http_port=port)

        assert gateway.process.wait(30) == 1

    assert f"error: cannot listen on 127.0.0.1:{port}" in (tmp_path / "gateway.log").read_text()


def test_a_model_of_another_contract_is_told_once(scripted: Stack, tmp_path: Path) -> None:
    options = [f"--triton={scripted.triton}", "--triton-model=preprocessing"]
    gateway = Gateway(tmp_path, *options, f"--tokenizer={tokenizer(scripted)}")

    assert gateway.process.wait(30) == 1
    assert (tmp_path / "gateway.log").read_text().count("error: ") == 1
