"""Three real tritonservers with the simulated engine, behind a gateway as its users run it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import yaml
from tokenizers import Tokenizer

from build_engine.repository import Repository, RepositorySpec, build
from gateway.embedded.tritonserver import Ports, TritonServer
from tests.e2e.conftest import free_port

SCRIPT: dict[str, Any] = {
    "answers": [
        {
            "contains": "stand still",
            "answer": "",
            "end": "limit",
            "fault": {"kind": "hang", "after": 1, "seconds": 600},
        },
        {
            "contains": "toss a coin",
            "answer": "",
            "end": "limit",
            "fault": {"kind": "error", "after": 0, "every": 2},
        },
    ],
    "cost": {"step_s": 0.1, "prefill_tokens_per_s": 20_000, "prefix_cache_tokens": 9_000},
}
POLICIES = ("least_work", "round_robin", "prefix")
PATIENCE_S = 90


class Member:
    """One of the Tritons: killed, stopped, started again, as it is or otherwise."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(repository.path, folder / "repository")
        for name in ("ensemble", "preprocessing", "postprocessing"):  # only make starts longer
            shutil.rmtree(folder / "repository" / name)
        self._config = folder / "repository" / "tensorrt_llm" / "config.pbtxt"
        self._original = self._config.read_text()
        self.ports = Ports(free_port(), free_port(), free_port())
        self.address = f"127.0.0.1:{self.ports.grpc}"
        self.server: TritonServer | None = None
        self.call: Any = None  # one that is let go of is cancelled

    def start(self, old: str = "", new: str = "") -> None:
        """Start it, one thing in its configuration being another; return at once."""
        self._config.write_text(self._original.replace(old, new) if old else self._original)
        log = self._folder / "triton.log"
        self.server = TritonServer(self._folder / "repository", log_file=log, ports=self.ports)
        self.server.start()

    def wait(self) -> None:
        """Return when it is ready."""
        assert self.server
        self.server.wait_ready(PATIENCE_S)

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        assert self.server
        os.killpg(self.server.pid, signum)

    def stop(self) -> None:
        """End it, however it is."""
        server, self.server = self.server, None
        self.call = None
        if server:
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.killpg(server.pid, signal.SIGCONT)
            server.stop(grace_s=0)

    def encode(self, text: str) -> list[int]:
        """Return a text as its tokens."""
        path = self._folder / "repository" / "tensorrt_llm" / "tokenizer" / "tokenizer.json"
        ids: list[int] = Tokenizer.from_file(str(path)).encode(text).ids
        return ids

    def num_calls(self) -> int:
        """Return how many calls its model was sent, by Triton's own count."""
        with urlopen(f"http://127.0.0.1:{self.ports.metrics}/metrics") as page:
            lines = page.read().decode().splitlines()
        names = ("nv_inference_request_success{", "nv_inference_request_failure{")
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(names))


class Fleet:
    """The members and their gateway, which serves them as `m` and, by policy, under its name."""

    def __init__(self, folder: Path, num_members: int = 3) -> None:
        script = folder / "script.json"
        script.write_text(json.dumps(SCRIPT))
        repository = build(RepositorySpec("simulated", folder / "built", script=script))
        self.members = [Member(repository, _made(folder, at)) for at in range(num_members)]
        self.folder = folder
        self.models_file = folder / "models.yaml"
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._tokenizer = repository.tokenizer_dir
        self.process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator["Fleet"]:
        """Run all of it while the block lasts."""
        with ExitStack() as stack:
            for member in self.members:
                stack.callback(member.stop)
                member.start()
            for member in self.members:
                member.wait()
            self.write_models(self.members)
            stack.callback(self._end)
            self._start()
            self.wait_serving()
            yield self

    def write_models(self, members: Sequence[Member], *more: str) -> None:
        """Write the models file: `m` and one for each policy, and others that are the same."""
        triton = {"addresses": [member.address for member in members]}
        tokenizer = str(self._tokenizer)
        models = [
            {"id": name, "tokenizer": tokenizer, "triton": {**triton, "policy": policy}}
            for name, policy in [
                ("m", POLICIES[0]),
                *((policy, policy) for policy in POLICIES),
                *((name, POLICIES[0]) for name in more),
            ]
        ]
        draft = self.models_file.with_suffix(".draft")
        draft.write_text(yaml.safe_dump({"models": models}))
        draft.replace(self.models_file)

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()

    def wait_serving(self) -> None:
        """Return when the gateway answers, and every member serves for every model."""
        self.eventually(lambda: self._all_serve() and self._is_ready())

    def eventually(self, condition: Callable[[], Any]) -> Any:
        """Return what a condition gives once that is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < deadline, self.log()[-8000:]
            time.sleep(0.05)
        return found

    def ask(self, *words: str) -> str:
        """Return what an operator's command prints."""
        url = f"http://127.0.0.1:{self.admin_port}"
        command = [sys.executable, "-m", "gateway", *words, f"--admin={url}"]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.decode()

    def restore(self) -> None:
        """Bring members back that are not as they were, and wait until all serve."""
        for member in self.members:
            member.stop()
        for member in self.members:
            member.start()
        for member in self.members:
            member.wait()
        self.wait_serving()

    def events(self) -> dict[str, int]:
        """Return what the gateway counted of its replicas."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        found = [line for line in lines if line.startswith("gateway_replica_events_total{")]
        return {line.split('"')[1]: int(float(line.split()[-1])) for line in found}

    def _all_serve(self) -> bool:
        lines = self.log().splitlines()
        if not lines:
            return False
        for member in self.members:
            for model in ("m", *POLICIES):
                said = [
                    line for line in lines if member.address in line and f" model={model} " in line
                ]
                if not said or "replica_ready" not in said[-1]:
                    return False
        return True

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def _start(self) -> None:
        command = [sys.executable, "-m", "gateway", "serve", f"--models={self.models_file}"]
        command += [f"--http-port={self.port}", "--grpc-port=0"]
        with (self.folder / "gateway.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "GATEWAY_STALL_TIMEOUT_S": "4",
                    "GATEWAY_REQUEST_TIMEOUT_S": "60",
                    "GATEWAY_ADMIN_PORT": str(self.admin_port),
                },
            )

    def _end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


def _made(folder: Path, number: int) -> Path:
    made = folder / f"member-{number}"
    made.mkdir()
    return made
