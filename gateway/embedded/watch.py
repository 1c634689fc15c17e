"""Watches a tritonserver of our own: tells how it died, keeps its log, starts it again."""

import re
import threading
import time
from collections.abc import Callable
from types import TracebackType

from gateway.embedded.processes import GONE, STOPPED, state, stubs
from gateway.embedded.tritonserver import TritonFailed, TritonServer

POLL_S = 0.2
ASK_S = 1.0
SILENT_S = 15.0
"""How long the server may leave its HTTP port unanswered; a busy one answers in milliseconds."""
STOPPED_S = 5.0
DYING_S = 3.0
"""How long it may take to end once its log tells of a fatal signal; some hang there."""
SETTLED_S = 60.0
MAX_QUICK_DEATHS = 5
LONGEST_PAUSE_S = 8.0
READY_TIMEOUT_S = 180.0
# ErrorSignalHandler in src/main.cc of triton-inference-server/server; TERM and INT are no deaths.
_FATAL = re.compile(r"Signal \((?:4|6|7|8|11)\) received")

Tell = Callable[[str], None]


class Watch:
    """Inside, a tritonserver that is ready is started again whenever it dies or stands still.

    It watches from a thread of its own, and from there calls `tell` with what people should know.
    A server that dies again and again within a minute is given up: `on_end` is called, and
    leaving raises TritonFailed. Between its deaths there are pauses that grow with `pause_s`.
    """

    def __init__(
        self,
        server: TritonServer,
        tell: Tell,
        *,
        on_end: Callable[[], None] = lambda: None,
        pause_s: float = 1.0,
    ) -> None:
        self._server = server
        self._tell = tell
        self._on_end = on_end
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-tritonserver", daemon=True)
        self._pause_s = pause_s
        self._num_quick_deaths = 0
        self._failure = ""
        self._settle()

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()
        if self._failure:
            raise TritonFailed(self._failure)

    def _run(self) -> None:
        while not self._leaving.wait(POLL_S):
            if (ailment := self._examine()) and not self._replace(ailment):
                self._on_end()
                return

    def _settle(self) -> None:
        """Note what a server consists of that is ready."""
        now = time.monotonic()
        self._ready_by: float | None = None
        self._started_at = self._answered_at = self._asked_at = now
        self._stopped_at = self._fatal_at = 0.0
        self._models = stubs(self._server.pid)

    def _examine(self) -> str:
        """Return what ails the server; nothing where it is well, or starts."""
        if ending := self._server.ending():
            return ending
        now = time.monotonic()
        if self._ready_by is not None:
            return self._await_ready(now, self._ready_by)
        return self._lost_model() or self._standstill(now) or self._silence(now)

    def _await_ready(self, now: float, ready_by: float) -> str:
        if self._server.is_ready():
            self._settle()
            self._tell(f"tritonserver serves again at {self._server.grpc_address}.")
        return "was not ready in time" if now > ready_by else ""

    def _lost_model(self) -> str:
        lost = [model for pid, model in self._models.items() if state(pid) == GONE]
        return f"lost the process of its model {lost[0]!r}" if lost else ""

    def _standstill(self, now: float) -> str:
        stopped = [pid for pid in (self._server.pid, *self._models) if state(pid) == STOPPED]
        self._stopped_at = (self._stopped_at or now) if stopped else 0.0
        if not stopped or now - self._stopped_at < STOPPED_S:
            return ""
        return f"stood still, process {stopped[0]} being stopped,"

    def _silence(self, now: float) -> str:
        if now - self._asked_at < ASK_S:
            return ""
        self._asked_at = now
        if self._server.is_live():
            self._answered_at = now
        if now - self._answered_at >= SILENT_S:
            return "no longer answered"
        is_dying = bool(_FATAL.search(self._server.log_tail()))
        self._fatal_at = (self._fatal_at or now) if is_dying else 0.0
        return "hung while dying" if is_dying and now - self._fatal_at >= DYING_S else ""

    def _replace(self, ailment: str) -> bool:
        """Start a server in place of one that ails; tell whether that is worth the while."""
        lived_s = time.monotonic() - self._started_at
        self._num_quick_deaths = 1 if lived_s >= SETTLED_S else self._num_quick_deaths + 1
        report = self._server.report(f"tritonserver {ailment} after {lived_s:.0f} s")
        self._server.stop(grace_s=0)
        kept = self._server.keep_log()
        self._tell(f"{report}\nThe whole log is kept in {kept}.")
        if self._num_quick_deaths > MAX_QUICK_DEATHS:
            self._failure = (
                f"tritonserver died {self._num_quick_deaths} times, each within a minute of its "
                f"start, and is not started again; see the logs beside {kept}"
            )
            return False
        pause_s = min(self._pause_s * (2 ** (self._num_quick_deaths - 1) - 1), LONGEST_PAUSE_S)
        self._tell(f"Starting tritonserver again in {pause_s:.0f} s.")
        if not self._leaving.wait(pause_s):
            self._server.start()
            self._started_at = time.monotonic()
            self._ready_by = self._started_at + READY_TIMEOUT_S
        return True
