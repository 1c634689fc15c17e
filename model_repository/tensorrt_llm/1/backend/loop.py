"""The one thread that runs an engine: admits, steps, answers. Knows no tensors and no Triton."""

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backend.contract import Request
from backend.engine import Engine, Progress
from backend.generation import Call, Cancelled, Generation, QueueFull

# Asking Triton whether a caller has gone takes about 0.1 ms: 5 % of the loop's time at most.
_POLL_S_PER_GENERATION = 0.002
_POLL_S_WHILE_PREPARING = 0.1
_MAX_PREPARING = 64
_NICE = 10


@dataclass(frozen=True)
class Load:
    """How many requests the engine works on, and how many wait for room."""

    active: int
    waiting: int


class Loop:
    """Feeds an engine with requests as they arrive, and sends what it generates.

    A request joins at the next step, one that has to be prepared at the one after that, which no
    other waits for. When more than `max_queue_size` wait for room (0 is no bound), or 64 are to
    be prepared, the newest are refused. A step that raises fails the requests in flight, no
    later ones.
    """

    def __init__(
        self, engine: Engine, *, max_queue_size: int = 0, report: Callable[[Load], None]
    ) -> None:
        self._engine = engine
        self._max_queue_size = max_queue_size
        self._report = report
        self._inbox: deque[Generation | Future[None] | Stop | None] = deque()
        self._arrival = threading.Semaphore(0)
        self._preparer = ThreadPoolExecutor(1, "preparing", initializer=_give_way)
        self._preparing: dict[Future[None], Generation] = {}
        self._waiting: deque[Generation] = deque()
        self._running: dict[int, tuple[Generation, int]] = {}
        self._keys = itertools.count(1)
        self._next_poll = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request, call: Call) -> None:
        """Queue a request; its call is answered from the loop's thread."""
        self._put(Generation(request, call))

    def stop(self, request_id: str, call: Call) -> None:
        """End the generation with this id by an empty final response, then answer the call."""
        self._put(Stop(request_id, call))

    def close(self) -> None:
        """Return when the threads have ended; requests in flight fail."""
        self._put(None)
        self._thread.join()
        self._engine.close()
        self._preparer.shutdown()

    def _put(self, item: "Generation | Future[None] | Stop | None") -> None:
        self._inbox.append(item)
        self._arrival.release()
        self._engine.wake()

    def _run(self) -> None:
        while self._take_arrivals():
            self._drop_cancelled()
            self._admit()
            try:
                for progress in self._engine.step() if self._engine.has_work else ():
                    self._push(progress)
            except Exception as error:
                self._fail_running(error)
                self._engine.reset()
            waiting = len(self._preparing) + len(self._waiting)
            self._report(Load(len(self._generations()), waiting))
        self._fail_all(RuntimeError("the model is shutting down"))

    def _take_arrivals(self) -> bool:
        """Move the inbox into the queue, waiting while there is nothing else to do."""
        is_idle = not (self._engine.has_work or self._waiting)
        patience_s = _POLL_S_WHILE_PREPARING if is_idle and self._preparing else None
        if is_idle and not self._preparing:
            self._engine.tidy()
        while self._arrival.acquire(blocking=is_idle, timeout=patience_s):
            is_idle, patience_s = False, None
            item = self._inbox.popleft()
            if item is None:
                return False
            self._take(item)
        return True

    def _take(self, item: "Generation | Future[None] | Stop") -> None:
        if isinstance(item, Stop):
            self._stop(item)
        elif isinstance(item, Future):
            self._queue_prepared(item)
        else:
            self._receive(item)

    def _receive(self, generation: Generation) -> None:
        try:
            if self._engine.is_prepared(generation.request):
                self._waiting.append(generation)
            else:
                self._prepare(generation)
        except Exception as error:
            generation.call.fail(error)

    def _prepare(self, generation: Generation) -> None:
        if len(self._preparing) >= _MAX_PREPARING:
            raise QueueFull(f"Exceeds maximum queue size ({_MAX_PREPARING})")
        future = self._preparer.submit(self._engine.prepare, generation.request)
        self._preparing[future] = generation
        future.add_done_callback(self._put)

    def _queue_prepared(self, future: Future[None]) -> None:
        generation = self._preparing.pop(future, None)
        if generation is None:  # it was dropped meanwhile
            return
        try:
            future.result()
            self._waiting.append(generation)
        except Exception as error:
            generation.call.fail(error)

    def _admit(self) -> None:
        while self._waiting and self._engine.has_room(self._waiting[0].request):
            self._start(self._waiting.popleft())
        while 0 < self._max_queue_size < len(self._waiting):
            error = QueueFull(f"Exceeds maximum queue size ({self._max_queue_size})")
            self._waiting.pop().call.fail(error)

    def _start(self, generation: Generation) -> None:
        generation.note_scheduled()
        try:
            indices = range(generation.request.num_return_sequences)
            keys = [next(self._keys) for _ in indices]
            self._running |= {keys[index]: (generation, index) for index in indices}
            self._engine.start(keys, generation.request)
        except Exception as error:
            self._forget(generation)
            generation.call.fail(error)

    def _push(self, progress: Progress) -> None:
        generation, index = self._running.get(progress.key, (None, 0))
        if generation is None:  # a sibling failed in this very step
            return
        if progress.error:
            self._forget(generation)
            generation.call.fail(progress.error)
            return
        generation.push(index, progress)
        if generation.sequences[index].is_finished:
            self._engine.stop(progress.key)
            del self._running[progress.key]

    def _drop_cancelled(self) -> None:
        now = time.monotonic()
        if now < self._next_poll:
            return
        live = self._all()
        self._next_poll = now + _POLL_S_PER_GENERATION * len(live)
        for generation in live:
            if generation.call.is_cancelled():
                self._forget(generation)
                generation.call.fail(Cancelled("cancelled by the caller"))

    def _stop(self, stop: "Stop") -> None:
        for generation in self._all():
            if generation.request.id == stop.request_id:
                self._forget(generation)
                generation.end_early()
        stop.call.end()

    def _generations(self) -> list[Generation]:
        return list(
            {id(generation): generation for generation, _ in self._running.values()}.values()
        )

    def _all(self) -> list[Generation]:
        return [*self._preparing.values(), *self._waiting, *self._generations()]

    def _forget(self, generation: Generation) -> None:
        for key in [key for key, (owner, _) in self._running.items() if owner is generation]:
            self._engine.stop(key)
            del self._running[key]
        if generation in self._waiting:
            self._waiting.remove(generation)
        for future in [key for key, owner in self._preparing.items() if owner is generation]:
            del self._preparing[future]
            future.cancel()

    def _fail_all(self, error: Exception) -> None:
        self._fail_running(error)
        for generation in self._all():
            self._forget(generation)
            generation.call.fail(error)

    def _fail_running(self, error: Exception) -> None:
        failed = self._generations()
        self._running.clear()
        for generation in failed:
            generation.call.fail(error)


def _give_way() -> None:
    """Lower the priority of this thread, and of those it starts."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


@dataclass(frozen=True)
class Stop:
    """A request to end the generation that has the same id."""

    request_id: str
    call: Call
