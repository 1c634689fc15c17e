"""An engine that advances by itself and is read as async iterators, as the loop wants it."""

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from backend.contract import Request, Tensors
from backend.engine import Progress

# How long a step waits where nothing comes: callers that went away are looked for after it.
_PATIENCE_S = 0.05
T = TypeVar("T")


class Unfinished(RuntimeError):
    """The engine ended a request before it had finished."""


class AsyncEngine(ABC):
    """The Engine over one whose answers are async iterators, such as vLLM's or the LLM API's.

    A subclass says what it refuses (`check`), how an answer is generated (`generate`) and how the
    engine ends (`shut_down`); more of `Engine` where it needs to. `generate` runs on an event loop
    in a thread of its own, which the subclass may use for its engine too (`run`).
    """

    def __init__(self, *, max_num_seqs: int) -> None:
        self._max_num_seqs = max_num_seqs
        self._gained: queue.SimpleQueue[Iterable[Progress]] = queue.SimpleQueue()
        self._answers: dict[int, _Answer] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._events = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._events.run_forever, name="answers", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns, run on the event loop of the answers."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._events).result()

    @abstractmethod
    def check(self, tensors: Tensors, request: Request) -> None:
        """Return if the request can be honoured; raise Refused, naming the tensor, if not."""

    @abstractmethod
    def generate(self, keys: Sequence[int], request: Request) -> AsyncIterator[list[Progress]]:
        """Yield what the sequences `keys` of the request gained, as the engine tells it.

        It is cancelled once all of them were stopped: an async generator aborts the request in
        the engine in its `finally`, unless the engine has finished it. What it raises fails the
        request, `Refused` as what was sent.
        """

    @abstractmethod
    async def shut_down(self) -> None:
        """End the engine; no answer is being generated any more."""

    def is_prepared(self, request: Request) -> bool:
        """True: nothing needs to be prepared."""
        return True

    def prepare(self, request: Request) -> None:
        """Return: there is nothing to prepare."""
        return

    def has_room(self, request: Request) -> bool:
        """Whether all sequences of the request fit beside those that were begun."""
        return len(self._answers) + request.num_return_sequences <= self._max_num_seqs

    def start(self, keys: Sequence[int], request: Request) -> None:
        """Begin all sequences of the request."""
        following = self._follow(keys, request)
        answer = _Answer(set(keys), asyncio.run_coroutine_threadsafe(following, self._events))
        self._answers |= dict.fromkeys(keys, answer)

    @property
    def has_work(self) -> bool:
        """Whether there are sequences to wait for."""
        return bool(self._answers)

    def step(self) -> Iterator[Progress]:
        """Wait until sequences gained something, or 50 ms; give what all gained until now."""
        try:
            yield from self._gained.get(timeout=_PATIENCE_S)
        except queue.Empty:
            return
        for _ in range(self._gained.qsize()):
            yield from self._gained.get()

    def wake(self) -> None:
        """End the wait of the step under way, or of the next."""
        self._gained.put(())

    def stop(self, key: int) -> None:
        """Forget a sequence; the last of a request ends the request in the engine."""
        answer = self._answers.pop(key, None)
        if answer is None:
            return
        answer.keys.discard(key)
        if not answer.keys:
            answer.future.cancel()

    def reset(self) -> None:
        """Forget every sequence."""
        for key in list(self._answers):
            self.stop(key)

    def tidy(self) -> None:
        """Return: nothing piles up."""
        return

    def close(self) -> None:
        """End the engine, then the event loop."""
        self.reset()
        try:
            self.run(self._end())
        finally:
            self._events.call_soon_threadsafe(self._events.stop)
            self._thread.join()
            self._events.close()

    async def _follow(self, keys: Sequence[int], request: Request) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._following.add(task)
        try:
            async for gained in self.generate(keys, request):
                self._gained.put(gained)
            self._fail(keys, Unfinished("the engine ended the request before it was finished"))
        except Exception as error:
            self._fail(keys, error)
        finally:
            self._following.discard(task)

    def _fail(self, keys: Sequence[int], error: Exception) -> None:
        """Fail those of the sequences that have not finished: progress of others is ignored."""
        self._gained.put([Progress(key, [], [], error=error) for key in keys])

    async def _end(self) -> None:
        await asyncio.gather(*self._following, return_exceptions=True)
        await self.shut_down()


@dataclass(frozen=True)
class _Answer:
    """A request being generated: those of its sequences that were not stopped."""

    keys: set[int]
    future: Future[None]
