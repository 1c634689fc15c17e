"""A server that dies at every start is given up, each of its deaths being told."""

from pathlib import Path
from threading import Event

import pytest

from gateway.embedded.tritonserver import TritonFailed
from gateway.embedded.watch import MAX_QUICK_DEATHS, Watch


class Mortal:
    """A tritonserver that has always just died."""

    pid = 2**22  # no process has it, nor is it in any group
    grpc_address = "127.0.0.1:1"

    def __init__(self) -> None:
        self.num_starts = 0

    def start(self) -> None:
        self.num_starts += 1

    def stop(self, grace_s: float) -> None:
        """It is dead already."""

    def ending(self) -> str:
        return "was killed by SIGSEGV"

    def report(self, headline: str) -> str:
        return f"{headline}; from the end of its log: oh no"

    def keep_log(self) -> Path:
        return Path("kept.log")


def test_a_server_that_dies_again_and_again_is_given_up() -> None:
    told: list[str] = []
    server, ended = Mortal(), Event()

    with (
        pytest.raises(TritonFailed, match=r"died 6 times.*not started again.*kept\.log"),
        Watch(server, told.append, on_end=ended.set, pause_s=0),  # type: ignore[arg-type]
    ):
        assert ended.wait(30)

    assert server.num_starts == MAX_QUICK_DEATHS
    deaths = [line for line in told if "was killed by SIGSEGV" in line]
    assert len(deaths) == MAX_QUICK_DEATHS + 1
    assert all("oh no" in line and "kept.log" in line for line in deaths)
