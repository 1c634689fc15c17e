"""The parent of the workers: starts them, replaces those that die, lets all drain at the end."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import structlog

from gateway.telemetry.folder import forget
from gateway.workers.child import Child, Ending

log = structlog.get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)
CALM_ENDINGS = (0, -signal.SIGTERM, -signal.SIGINT)
BEYOND_DRAIN_S = 10.0
LAST_WORDS_S = 3.0

SETTLED_S = 10.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LONGEST_WAIT_S = 3600.0

NumberedWork = Callable[[int, Callable[[], None]], None]
"""What the worker of a number does; it is handed what to call once it serves."""


class WorkersFailed(Exception):
    """The workers could not start or did not drain; the message says why."""


@dataclass(slots=True)
class Place:
    """A worker's number, what runs there, and when the next may start if nothing does."""

    number: int
    child: Child | None = None
    is_first: bool = True
    pause_s: float = 0.0
    due_s: float = 0.0

    def ended(self) -> Ending | None:
        """Return how the child ended, once; None while it runs."""
        if self.child is None:
            return None
        ending = self.child.ended()
        if ending:
            forget(self.child.pid)
            self.child = None
        return ending


class Supervisor:
    """Keeps `count` workers at work, and hands SIGHUP on to them.

    There must be no other thread, as a fork would lose it.
    """

    def __init__(self, count: int, work: NumberedWork, drain_s: float) -> None:
        self._places = [Place(number) for number in range(1, count + 1)]
        self._work = work
        self._drain_s = drain_s

    def run(self) -> None:
        """Return when a SIGTERM or SIGINT came and all workers have drained.

        Raises WorkersFailed where they cannot start or do not drain; a second signal ends them.
        """
        with _signals_waiting():
            try:
                self._keep()
                self._drain()
            finally:
                for child in self._children():
                    child.kill()

    def _children(self) -> list[Child]:
        return [place.child for place in self._places if place.child]

    def _endings(self) -> Iterator[tuple[Place, Ending]]:
        for place in self._places:
            if ending := place.ended():
                yield place, ending

    def _keep(self) -> None:
        """Start and replace workers until a signal says stop."""
        while True:
            self._start_due()
            received = signal.sigtimedwait(SIGNALS, self._until_due_s())
            if received and received.si_signo == signal.SIGHUP:
                for child in self._children():
                    child.send(signal.SIGHUP)
            elif received and received.si_signo != signal.SIGCHLD:
                log.info("stopping", signal=signal.Signals(received.si_signo).name)
                return
            for place, ending in self._endings():
                self._replace(place, ending)

    def _start_due(self) -> None:
        for place in self._places:
            if not place.child and place.due_s <= time.monotonic():
                place.child = Child(partial(self._work, place.number))
                log.info("worker_started", number=place.number, pid=place.child.pid)

    def _until_due_s(self) -> float:
        due_s = min((place.due_s for place in self._places if not place.child), default=None)
        return LONGEST_WAIT_S if due_s is None else max(0.0, due_s - time.monotonic())

    def _replace(self, place: Place, ending: Ending) -> None:
        if place.is_first and not ending.has_served:
            raise WorkersFailed(
                ending.reason or f"worker {place.number} ended before it served: {ending}"
            )
        place.is_first = False
        place.pause_s = pause_after(ending.lived_s, place.pause_s)
        place.due_s = time.monotonic() + place.pause_s
        log.error("worker_ended", number=place.number, ending=str(ending), pause_s=place.pause_s)

    def _drain(self) -> None:
        """Ask all workers to stop, and wait until they have."""
        for child in self._children():
            child.send(signal.SIGTERM)
        until_s = time.monotonic() + self._drain_s + BEYOND_DRAIN_S
        cut_short = []
        while self._children():
            received = signal.sigtimedwait(SIGNALS, max(0.0, until_s - time.monotonic()))
            if not received:
                raise WorkersFailed("the workers did not drain in time and were ended")
            if received.si_signo not in (signal.SIGCHLD, signal.SIGHUP):
                self._cut_short()
                raise WorkersFailed("a second signal ended the workers before they had drained")
            endings = self._endings()
            cut_short += [ending for _, ending in endings if ending.status not in CALM_ENDINGS]
        if cut_short:
            raise WorkersFailed(f"a worker did not drain: {cut_short[0]}")

    def _cut_short(self) -> None:
        """Have the workers end what they answer at once, and tell whom they answer."""
        for child in self._children():
            child.send(signal.SIGINT)
        until_s = time.monotonic() + LAST_WORDS_S
        while self._children() and (left_s := until_s - time.monotonic()) > 0:
            signal.sigtimedwait((signal.SIGCHLD,), left_s)
            list(self._endings())


def pause_after(lived_s: float, last_pause_s: float) -> float:
    """Return how long a place stays empty after a worker that lived so long."""
    if lived_s >= SETTLED_S:
        return 0.0
    return min(max(2 * last_pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """Hold signals back for `sigtimedwait`; a SIGCHLD that is ignored would never come."""
    child_handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGCHLD, child_handler)
