"""What a client sees when Triton dies, comes back, or the gateway is asked to stop."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from build_engine.repository import RepositorySpec, build
from gateway.embedded.tritonserver import Ports, TritonServer
from tests.e2e.conftest import free_port

SCRIPT = {
    "answers": [{"contains": "sea", "answer": "", "end": "limit"}],
    "cost": {"step_s": 0.01},
}


class Setup:
    """A Triton that can be killed and started again, and one gateway in front of it."""

    def __init__(self, folder: Path) -> None:
        script = folder / "script.json"
        script.write_text(json.dumps(SCRIPT))
        self.repository = build(RepositorySpec("simulated", folder / "repository", script=script))
        self.folder = folder
        self.grpc_port, self.port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start_triton(self) -> TritonServer:
        ports = Ports(grpc=self.grpc_port)
        server = TritonServer(
            self.repository.path, log_file=self.folder / "triton.log", ports=ports
        )
        server.start()
        server.wait_ready(60)
        return server

    def start_gateway(self, *options: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "gateway", "serve", "--grpc-port=0"]
        command += [
            f"--http-port={self.port}",
            f"--triton=127.0.0.1:{self.grpc_port}",
            "--model-id=m",
        ]
        command += [f"--tokenizer={self.repository.tokenizer_dir}", *options]
        with (self.folder / "gateway.log").open("wb") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def wait_ready(self) -> None:
        """Wait until the gateway is ready."""
        started = time.monotonic()
        while time.monotonic() < started + 30:
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise TimeoutError((self.folder / "gateway.log").read_text())

    def body(self, **fields: Any) -> dict[str, Any]:
        message = {"role": "user", "content": "the sea"}
        return {"model": "m", "messages": [message], "stream": True, **fields}

    def events(self, body: dict[str, Any]) -> Iterator[str]:
        url = f"{self.url}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=30) as response:
            yield from (line for line in response.iter_lines() if line)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return Setup(tmp_path_factory.mktemp("failures"))


def test_a_triton_that_dies_is_told_and_one_that_comes_back_is_used(setup: Setup) -> None:
    triton = setup.start_triton()
    gateway = setup.start_gateway()
    try:
        setup.wait_ready()
        events = setup.events(setup.body())
        next(events)
        os.killpg(triton.pid, signal.SIGKILL)

        *_, last = events

        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_unavailable"
        assert httpx.get(f"{setup.url}/health/ready").status_code == 503
        refused = httpx.post(f"{setup.url}/v1/chat/completions", json=setup.body())
        assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")

        triton.stop()
        triton = setup.start_triton()
        setup.wait_ready()
        *_, done = setup.events(setup.body(max_tokens=3))
        assert done == "data: [DONE]"
    finally:
        gateway.kill()
        gateway.wait()
        triton.stop()


def test_a_gateway_that_stops_lets_running_answers_finish(setup: Setup) -> None:
    triton = setup.start_triton()
    gateway = setup.start_gateway()
    try:
        setup.wait_ready()
        seen: list[str] = []
        body = setup.body(max_tokens=150)
        reader = threading.Thread(target=lambda: seen.extend(setup.events(body)))
        reader.start()
        while len(seen) < 3:
            time.sleep(0.01)

        gateway.send_signal(signal.SIGTERM)
        reader.join(20)

        assert seen[-1] == "data: [DONE]"
        assert gateway.wait(20) in (0, -signal.SIGTERM)
    finally:
        gateway.kill()
        gateway.wait()
        triton.stop()
