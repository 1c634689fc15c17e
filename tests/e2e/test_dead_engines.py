"""Engines that die, stand still, or come back as others, under a gateway that must notice."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.embedded.processes import stubs
from gateway.embedded.tritonserver import TritonServer
from tests.e2e.conftest import Stack, start_stack, stop_stack
from tests.e2e.test_failures import Setup
from tests.fakes import tiny_tokenizer

PATIENCE_S = 90
"""Far more than anything here takes, and far less than the ten minutes a request may take."""


class Served(Setup):
    """A Triton that can be changed, and a gateway before it that runs all the time."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("ensemble", "preprocessing", "postprocessing"):  # only make starts longer
            shutil.rmtree(self.repository.path / name)
        self.config = self.repository.path / "tensorrt_llm" / "config.pbtxt"
        self.original = self.config.read_text()
        self.triton: TritonServer | None = None

    def redeploy(self, old: str = "", new: str = "") -> None:
        """Start a Triton over the repository, one thing in its configuration being another."""
        self.undeploy()
        changed = self.original.replace(old, new) if old else self.original
        assert (changed != self.original) == bool(old)
        self.config.write_text(changed)
        self.triton = self.start_triton()

    def undeploy(self) -> None:
        """End the Triton, if one runs."""
        triton, self.triton = self.triton, None
        if triton:
            triton.stop()

    def model_stub(self) -> int:
        """Return the process that runs the model."""
        assert self.triton
        return next(p for p, model in stubs(self.triton.pid).items() if model == "tensorrt_llm")

    def health(self) -> str:
        """Return why it is not ready; empty while it is."""
        return str(httpx.get(f"{self.url}/health/ready").json().get("reason", ""))

    def ask(self, **fields: Any) -> httpx.Response:
        url = f"{self.url}/v1/chat/completions"
        return httpx.post(url, json=self.body(stream=False, **fields), timeout=PATIENCE_S)

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text()


def eventually(condition: Callable[[], Any], told: Callable[[], str] = str) -> Any:
    """Return what a condition gives once that is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, told()
        time.sleep(0.05)
    return found


@contextmanager
def streaming(events: Callable[[], Iterator[str]]) -> Iterator[list[str]]:
    """Read a stream beside what a test does; on leaving, it has ended by itself."""
    seen: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: seen.extend(events()))
        eventually(lambda: len(seen) > 2)
        yield seen
        reading.result(PATIENCE_S)


def error_code(event: str) -> str:
    return str(json.loads(event.removeprefix("data: "))["error"]["code"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("served"))
    with ExitStack() as stack:
        stack.callback(served.undeploy)
        served.redeploy()
        gateway = served.start_gateway()
        stack.callback(gateway.wait)
        stack.callback(gateway.kill)
        served.wait_ready()
        yield served


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> None:
    """Give every test a Triton that is well."""
    if "served" in request.fixturenames:
        served = request.getfixturevalue("served")
        if served.health() or served.config.read_text() != served.original:
            served.redeploy()
            eventually(lambda: not served.health(), served.log)


def test_another_engine_behind_the_same_address_is_served_as_what_it_is(served: Served) -> None:
    served.redeploy('"8192"', '"64"')
    eventually(lambda: not served.health(), served.log)

    cut = served.ask().json()["choices"][0]

    assert cut["finish_reason"] == "length"
    [model] = httpx.get(f"{served.url}/v1/models").json()["data"]
    assert model["max_model_len"] == 64
    assert served.ask(max_tokens=100).json()["error"]["code"] == "context_length_exceeded"


def test_a_contract_that_does_not_fit_is_told_by_name_until_it_is_mended(served: Served) -> None:
    served.redeploy('"request_output_len"', '"output_len"')
    eventually(lambda: "'request_output_len'" in served.health(), served.log)

    refused = served.ask()

    assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")
    assert "'request_output_len'" in refused.json()["error"]["message"]
    served.redeploy()
    eventually(lambda: not served.health(), served.log)
    assert served.ask(max_tokens=3).status_code == 200


@pytest.mark.parametrize("cause", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_model_process_that_is_gone_is_told_and_waited_for_by_nobody(
    served: Served, cause: signal.Signals
) -> None:
    with streaming(lambda: served.events(served.body())) as events:
        os.kill(served.model_stub(), cause)

    assert error_code(events[-1]) == "engine_unavailable"
    assert "process does not answer" in eventually(served.health, served.log)
    refused = served.ask()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    served.redeploy()
    eventually(lambda: not served.health(), served.log)
    assert served.ask(max_tokens=3).status_code == 200


def test_a_triton_that_stands_still_is_told_and_used_again_when_it_goes_on(served: Served) -> None:
    assert served.triton
    with streaming(lambda: served.events(served.body())) as events:
        os.kill(served.triton.pid, signal.SIGSTOP)

    try:
        assert error_code(events[-1]) == "engine_unavailable"
        assert "does not answer" in eventually(served.health, served.log)
        assert served.ask().status_code == 503
    finally:
        os.kill(served.triton.pid, signal.SIGCONT)
    eventually(lambda: not served.health(), served.log)
    assert served.ask(max_tokens=3).status_code == 200


def test_a_long_silence_of_a_healthy_engine_is_not_death(served: Served) -> None:
    answer = served.ask(max_tokens=1200)

    assert answer.json()["choices"][0]["finish_reason"] == "length"
    assert not served.health()


def test_a_context_beyond_the_engines_is_refused_at_start(served: Served) -> None:
    gateway = served.start_gateway("--max-model-len=9000", "--http-port=0")

    assert gateway.wait(PATIENCE_S) == 1
    assert "8192 tokens (max_seq_len), less than the max_model_len of 9000" in served.log()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = start_stack(tmp_path_factory.mktemp("up"), "--engine=simulated")
    yield stack
    stop_stack(stack)


def tritonserver_of(stack: Stack) -> int:
    """Return the tritonserver that runs below `gateway up` now."""
    pid = stack.process.pid
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return next(c for c in children if "tritonserver" in Path(f"/proc/{c}/comm").read_text())


def model_of(group: int) -> int:
    return next(pid for pid, model in stubs(group).items() if model == "tensorrt_llm")


@pytest.mark.parametrize(
    ("cause", "victim", "told"),
    [
        pytest.param(signal.SIGKILL, int, "was killed by SIGKILL", id="tritonserver killed"),
        pytest.param(signal.SIGSTOP, int, "stood still", id="tritonserver stopped"),
        pytest.param(signal.SIGKILL, model_of, "process of its model 'tensorrt_llm'", id="model"),
        pytest.param(signal.SIGSTOP, model_of, "stood still", id="model stopped"),
    ],
)
def test_up_starts_its_triton_again_whatever_became_of_it(
    up: Stack, cause: signal.Signals, victim: Callable[[int], int], told: str
) -> None:
    body = {"model": up.model, "messages": [{"role": "user", "content": "x"}], "stream": True}
    url, before = f"{up.url}/v1/chat/completions", len(up.log())

    def events() -> Iterator[str]:
        with httpx.stream("POST", url, json=body, timeout=PATIENCE_S) as response:
            yield from (line for line in response.iter_lines() if line)

    with streaming(events) as seen:
        os.kill(victim(tritonserver_of(up)), cause)

    assert error_code(seen[-1]) == "engine_unavailable"
    eventually(lambda: "serves again" in up.log()[before:], up.log)
    eventually(up.is_ready, up.log)
    assert told in up.log()[before:]
    kept = re.findall(r"whole log is kept in (\S+\.log)", up.log()[before:])
    assert "Started GRPCInferenceService" in Path(kept[-1]).read_text()
    answer = httpx.post(url, json=body | {"stream": False, "max_tokens": 2}, timeout=PATIENCE_S)
    assert answer.status_code == 200


def test_up_gives_a_triton_up_that_cannot_live(tmp_path: Path) -> None:
    stack = start_stack(tmp_path, "--engine=simulated")
    try:
        (stack.repository / "tensorrt_llm" / "1" / "model.py").write_text("raise SystemExit(1)")
        os.kill(tritonserver_of(stack), signal.SIGKILL)

        assert stack.process.wait(PATIENCE_S) == 1
    finally:
        stack.process.kill()
        stack.process.wait()

    assert re.search(r"error: tritonserver died 6 times.*not started again", stack.log())
    assert "Traceback" not in stack.log().partition("error: tritonserver")[2]


def test_a_triton_that_is_not_there_is_waited_for_aloud_and_no_longer_than_asked(
    tmp_path: Path,
) -> None:
    log = tmp_path / "gateway.log"
    command = [sys.executable, "-m", "gateway", "serve", "--triton=127.0.0.1:1", "--http-port=0"]
    command += ["--grpc-port=0", f"--tokenizer={tiny_tokenizer()}", "--model-id=poet"]
    command += ["--wait-s=6"]
    with log.open("wb") as output:
        gateway = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        told = eventually(lambda: re.findall(r".*waiting_for_model.*", log.read_text()))
        eventually(lambda: len(re.findall("waiting_for_model", log.read_text())) > 1)
        assert gateway.wait(PATIENCE_S) == 1
    finally:
        gateway.kill()
        gateway.wait()

    assert "[warning" in told[0]
    assert all(part in told[0] for part in ("poet", "127.0.0.1:1", "cannot be reached", "start it"))
    assert "error: gave up after 6 s: The model 'poet' is not ready" in log.read_text()
