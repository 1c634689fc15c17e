"""One worker: a fork of the parent that tells it when it serves, and dies with it. Linux only."""

import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog

from gateway.settings import SettingsError

log = structlog.get_logger(__name__)

PR_SET_PDEATHSIG = 1
SERVES = b"\0"

Work = Callable[[Callable[[], None]], None]
"""What a worker does; it is handed what to call once it serves."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended: `status` is its exit status, or minus the signal that killed it.

    `reason` is what it said itself, if anything.
    """

    status: int
    lived_s: float
    has_served: bool
    reason: str

    def __str__(self) -> str:
        if self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        return self.reason or f"exit status {self.status}"


class Child:
    """A running worker."""

    def __init__(self, work: Work) -> None:
        """Fork. In the child this never returns: it is `work` until that ends."""
        parent = os.getpid()
        self._report, writer = os.pipe()
        self._started_s = time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            _run(work, writer, parent)
        os.close(writer)

    def send(self, signum: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, signum)

    def ended(self) -> Ending | None:
        """Return how it ended, once; None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return self._bury(status) if pid else None

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        self._bury(os.waitpid(self.pid, 0)[1])

    def _bury(self, status: int) -> Ending:
        with os.fdopen(self._report, "rb") as report:
            said = report.read()
        return Ending(
            status=os.waitstatus_to_exitcode(status),
            lived_s=time.monotonic() - self._started_s,
            has_served=said.startswith(SERVES),
            reason=said.removeprefix(SERVES).decode(),
        )


def _run(work: Work, report: int, parent: int) -> NoReturn:
    """Work, and end without what the parent does at its own end."""
    status = 1
    try:
        _stand_alone(parent)
        work(lambda: _tell(report, SERVES))
        status = 0
    except SettingsError as error:
        _tell(report, str(error).encode())
    except BaseException:
        log.exception("worker_failed")
    finally:
        logging.shutdown()
        os._exit(status)


def _tell(report: int, what: bytes) -> None:
    os.write(report, what)


def _stand_alone(parent: int) -> None:
    """Take signals as a process does that was not forked; Ctrl-C is for the parent to hand on."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the worker has a use for it
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
