"""The whole stack as its users start it: `gateway up` in a process of its own, once a session."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
import yaml

from build_engine.repository import RepositorySpec, build
from gateway.embedded.tritonserver import TritonServer
from tests.llm_api import llm_api_repository
from tests.shared_servers import DEATHS, await_servers, awaited, lasting

START_TIMEOUT_S = 180
SCRIPT = Path(__file__).parent / "script.json"


@dataclass(frozen=True)
class Stack:
    """Where a running stack is reached."""

    url: str
    grpc: str
    triton: str
    metrics_url: str
    repository: Path
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def model(self) -> str:
        """The id of the one model it serves."""
        return str(httpx.get(f"{self.url}/v1/models").json()["data"][0]["id"])

    def is_ready(self) -> bool:
        """Tell whether the gateway says that it can serve."""
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def log(self) -> str:
        """Return what it has written."""
        return self.log_file.read_text()

    def metric(self, name: str, **labels: str) -> float:
        """Return one of Triton's own metrics, summed over the label sets that fit."""
        total = 0.0
        for line in httpx.get(self.metrics_url).text.splitlines():
            if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


OURS = (sys.executable, "-m", "gateway")


def start_stack(folder: Path, *options: str, program: Sequence[str] = OURS) -> Stack:
    """Start `gateway up` and wait until it says it is ready."""
    http_port, grpc_port, triton_port = free_port(), free_port(), free_port()
    log = folder / "gateway-up.log"
    command = [*program, "up", f"--http-port={http_port}"]
    command += [f"--grpc-port={grpc_port}", f"--triton-grpc-port={triton_port}"]
    command += [f"--repository={folder / 'repository'}", *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (found := re.search(r"http://\S+/metrics", log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return Stack(
        url=f"http://127.0.0.1:{http_port}",
        grpc=f"127.0.0.1:{grpc_port}",
        triton=f"127.0.0.1:{triton_port}",
        metrics_url=found[0],
        repository=folder / "repository",
        process=process,
        log_file=log,
    )


def stop_stack(stack: Stack) -> int:
    """Ask the stack to stop as a terminal or an init system would; return its exit status."""
    os.kill(stack.process.pid, signal.SIGTERM)
    status = stack.process.wait(timeout=60)
    DEATHS.extend(line for line in stack.log().splitlines() if "; from the end of " in line)
    return status


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Stack]:
    """Run `gateway up` for tests to share; each waits until it is ready."""
    stack = start_stack(folder, *options)
    with awaited(stack.is_ready):
        yield stack
    stop_stack(stack)


@pytest.fixture(autouse=True)
def shared_stacks_are_ready() -> None:
    """Wait for a shared stack whose tritonserver died in an earlier test to be back."""
    await_servers()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, fetched_model: Path) -> Iterator[Stack]:
    """SmolLM2 on a real tritonserver behind a real gateway."""
    with running(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="session")
def sdk(stack: Stack) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, pointed at the stack."""
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory, llama3_folder: Path) -> Iterator[Stack]:
    """The simulator with Llama 3.1's tokenizer, answering by script.json, behind a real gateway."""
    folder = tmp_path_factory.mktemp("scripted")
    build(
        RepositorySpec("simulated", folder / "repository", tokenizer=llama3_folder, script=SCRIPT)
    )
    with running(folder) as stack:
        yield stack


@pytest.fixture(scope="session")
def llm_api(tmp_path_factory: pytest.TempPathFactory, llama3_folder: Path) -> Iterator[Stack]:
    """Our model on the LLM API, which a stand-in plays by script.json, behind a real gateway."""
    folder = tmp_path_factory.mktemp("llm_api")
    repository = llm_api_repository(folder, llama3_folder, SCRIPT, queue=64)
    with lasting(TritonServer(repository, log_file=folder / "triton.log")) as server:
        stack = serve(folder, repository, server)
        with awaited(stack.is_ready):
            await_servers()
            yield stack
        stop_stack(stack)


def serve(folder: Path, repository: Path, server: TritonServer) -> Stack:
    """Start `gateway serve` before a server, by the file that build-engine wrote and an adapter."""
    ports = free_port(), free_port()
    command = [*OURS, "serve", f"--models={models_file(folder, repository, server.grpc_address)}"]
    command += [f"--http-port={ports[0]}", f"--grpc-port={ports[1]}"]
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    return Stack(
        url=f"http://127.0.0.1:{ports[0]}",
        grpc=f"127.0.0.1:{ports[1]}",
        triton=server.grpc_address,
        metrics_url=f"http://{server.metrics_address}/metrics",
        repository=repository,
        process=process,
        log_file=log,
    )


def models_file(folder: Path, repository: Path, triton: str) -> Path:
    """Write the file of models with an adapter beside the one that build-engine wrote."""
    content = yaml.safe_load((repository / "gateway.yaml").read_text())
    (model,) = content["models"]
    adapter = folder / "poet"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    model["triton"]["address"] = triton
    model["lora"] = [{"id": "poet", "task_id": 1, "path": str(adapter)}]
    path = repository / "models.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
