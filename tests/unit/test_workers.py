"""The parent of the workers, over work that ends as it is told. It forks, so it has a process."""

import subprocess
import sys

import pytest

from gateway.workers.child import Ending
from gateway.workers.supervisor import FIRST_PAUSE_S, LONGEST_PAUSE_S, SETTLED_S, pause_after

SUPERVISED = """
import multiprocessing, os, signal, sys, time
from gateway.settings import SettingsError
from gateway.telemetry.logs import configure_logs
from gateway.workers.supervisor import Supervisor, WorkersFailed
configure_logs("error", "json")
parent = os.getpid()
first_life = multiprocessing.Semaphore(1)
second_worker = multiprocessing.Semaphore(0)
def work(number, serves):
{work}
try:
    Supervisor(2, work, drain_s=1).run()
except WorkersFailed as error:
    print(error)
"""


def supervise(*work: str) -> "subprocess.CompletedProcess[str]":
    """Return what two workers and their parent print and log."""
    body = "".join(f"    {line}\n" for line in work)
    command = [sys.executable, "-c", SUPERVISED.format(work=body)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)


def test_a_place_stays_empty_longer_after_each_worker_that_dies_soon() -> None:
    pauses = [0.0]
    for _ in range(9):
        pauses.append(pause_after(0.1, pauses[-1]))

    assert pauses[1:4] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert pauses[-2:] == [LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert pause_after(SETTLED_S, LONGEST_PAUSE_S) == 0


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (Ending(-9, 1, True, ""), "killed by SIGKILL"),
        (Ending(3, 1, True, ""), "exit status 3"),
        (Ending(1, 1, False, "the port is gone"), "the port is gone"),
    ],
    ids=["signal", "status", "reason"],
)
def test_an_ending_tells_why(ending: Ending, told: str) -> None:
    assert str(ending) == told


def test_what_keeps_a_worker_from_starting_ends_the_parent() -> None:
    told = supervise("raise SettingsError('no such port')")

    assert told.stdout == "no such port\n"


def test_a_worker_that_dies_before_it_serves_ends_the_parent() -> None:
    told = supervise("time.sleep(number if number == 1 else 60)", "os._exit(7)")

    assert told.stdout == "worker 1 ended before it served: exit status 7\n"


def test_workers_that_served_and_died_are_replaced_until_a_signal() -> None:
    told = supervise(
        "serves()",
        "os.write(1, b'%d' % number)",
        "if number == 2: second_worker.release()",
        "elif first_life.acquire(False): os._exit(7)",
        "elif second_worker.acquire(): os.kill(parent, signal.SIGTERM)",
        "time.sleep(60)",
    )

    assert sorted(told.stdout) == ["1", "1", "2"]


def test_a_worker_that_does_not_drain_is_told_of() -> None:
    told = supervise(
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))",
        "serves()",
        "if number == 1: os.kill(parent, signal.SIGTERM)",
        "time.sleep(60)",
    )

    assert told.stdout == "a worker did not drain: exit status 7\n"


def test_a_bug_in_a_worker_is_logged_with_its_traceback() -> None:
    told = supervise("raise KeyError('who')")

    assert "KeyError: 'who'" in told.stderr
    assert told.stdout.endswith("ended before it served: exit status 1\n")
