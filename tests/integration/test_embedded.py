"""A real tritonserver is started, awaited and stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from gateway.embedded.platform import Platform, PlatformUnsupported, check_platform
from gateway.embedded.tritonserver import TritonFailed, TritonServer
from gateway.embedded.watch import Watch

CONFIG = """
backend: "python"
max_batch_size: 0
input [ { name: "IN" data_type: TYPE_INT32 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] } ]
instance_group [ { kind: KIND_CPU } ]
"""
MODEL = """
class TritonPythonModel:
    def initialize(self, args):
        print("hello from the model", flush=True)
"""
BROKEN_MODEL = """
class TritonPythonModel:
    def initialize(self, args):
        raise RuntimeError("the weights are made of cheese")
"""
START_AND_WAIT = """
import sys, time
from pathlib import Path
from gateway.embedded.tritonserver import TritonServer
server = TritonServer(Path(sys.argv[1]), log_file=Path(sys.argv[2]))
server.start()
server.wait_ready(60)
print(server.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def require_platform() -> None:
    try:
        check_platform(Platform.detect())
    except PlatformUnsupported as refusal:
        pytest.skip(str(refusal))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "repository", MODEL)


def write_repository(path: Path, source: str) -> Path:
    (path / "still" / "1").mkdir(parents=True)
    (path / "still" / "config.pbtxt").write_text(CONFIG)
    (path / "still" / "1" / "model.py").write_text(source)
    return path


def members(group: int) -> list[str]:
    """Command lines of the live processes in a process group."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, process_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state != "Z":
                found.append((process / "cmdline").read_text())
    return found


def wait_gone(group: int, patience_s: float) -> list[str]:
    deadline = time.monotonic() + patience_s
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.1)
    return members(group)


def get(address: str, path: str) -> int:
    connection = HTTPConnection(address, timeout=5)
    connection.request("GET", path)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_started_server_is_ready_on_every_address_and_leaves_nothing_when_stopped(
    repository: Path, tmp_path: Path
) -> None:
    log = tmp_path / "triton.log"
    with TritonServer(repository, log_file=log) as server:
        server.wait_ready(60)
        group = server.pid
        serving = members(group)

        assert get(server.http_address, "/v2/models/still/ready") == 200
        assert get(server.metrics_address, "/metrics") == 200
        assert any("triton_python_backend_stub" in command for command in serving)
        assert list(Path("/dev/shm").glob(f"{server.shm_prefix}*"))
        assert "hello from the model" in log.read_text()

    assert members(group) == []
    assert list(Path("/dev/shm").glob(f"{server.shm_prefix}*")) == []


def test_a_server_that_ignores_the_request_to_stop_is_killed_with_its_models(
    repository: Path, tmp_path: Path
) -> None:
    server = TritonServer(repository, log_file=tmp_path / "triton.log")
    server.start()
    server.wait_ready(60)
    group = server.pid
    os.kill(group, signal.SIGSTOP)

    server.stop(grace_s=0.2)

    assert members(group) == []
    assert list(Path("/dev/shm").glob(f"{server.shm_prefix}*")) == []


def test_a_model_that_cannot_load_ends_the_wait_with_the_end_of_the_log(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "repository", BROKEN_MODEL)

    with (
        TritonServer(repository, log_file=tmp_path / "triton.log") as server,
        pytest.raises(TritonFailed, match=r"(?s)ended with code 1.*the weights are made of cheese"),
    ):
        server.wait_ready(60)


def test_a_server_that_is_not_ready_in_time_says_so(repository: Path, tmp_path: Path) -> None:
    with (
        TritonServer(repository, log_file=tmp_path / "triton.log") as server,
        pytest.raises(TritonFailed, match=r"not ready after 0\.01 s"),
    ):
        server.wait_ready(0.01)


def test_a_watched_server_that_is_killed_serves_again_at_the_same_address(
    repository: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    with TritonServer(repository, log_file=tmp_path / "triton.log") as server:
        server.wait_ready(60)
        with Watch(server, told.append):
            killed = server.pid
            os.killpg(killed, signal.SIGKILL)
            deadline = time.monotonic() + 60
            while not any("serves again" in line for line in told):
                assert time.monotonic() < deadline, told
                time.sleep(0.1)

            assert server.is_ready()
            assert server.pid != killed

    assert told[0].startswith("tritonserver was killed by SIGKILL after")
    assert "hello from the model" in (tmp_path / "triton-1.log").read_text()
    assert list(Path("/dev/shm").glob(f"{server.shm_prefix}*")) == []


def test_the_server_follows_a_parent_that_is_killed(repository: Path, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", START_AND_WAIT, str(repository), str(tmp_path / "triton.log")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        assert members(group)
        parent.kill()

    assert wait_gone(group, patience_s=60) == []
