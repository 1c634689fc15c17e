"""An engine of async iterators behind the loop; what it generates is told to it step by step."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from backend.async_engine import AsyncEngine
from backend.contract import Refused, Request, Tensors
from backend.engine import Progress
from backend.generation import Cancelled
from backend.loop import Loop

from tests.unit.test_model_loop import PATIENCE_S, asking, submit

ENDS, FAILS, BREAKS_OFF = 1, 2, 3


class ToldEngine(AsyncEngine):
    """Gives each sequence the tokens of the prompt, the last of which says how that ends."""

    def __init__(self) -> None:
        super().__init__(max_num_seqs=4)
        self.may_go_on = asyncio.Event()
        self.has_begun = threading.Event()
        self.aborted: list[Sequence[int]] = []
        self.has_aborted = threading.Event()
        self.is_shut_down = False

    def check(self, tensors: Tensors, request: Request) -> None:
        raise NotImplementedError

    async def generate(
        self, keys: Sequence[int], request: Request
    ) -> AsyncIterator[list[Progress]]:
        is_finished = False
        self.has_begun.set()
        try:
            await self.may_go_on.wait()
            *ids, ending = request.input_ids
            for token in ids:
                yield [Progress(key, [token], []) for key in keys]
            if ending == FAILS:
                raise Refused("not like that")
            if ending == ENDS:
                is_finished = True
                yield [Progress(key, [ending], [], is_finished=True) for key in keys]
        finally:
            if not is_finished:
                self.aborted.append(keys)
                self.has_aborted.set()

    async def shut_down(self) -> None:
        self.is_shut_down = True

    def let_go_on(self) -> None:
        self._events.call_soon_threadsafe(self.may_go_on.set)


@pytest.fixture
def engine() -> ToldEngine:
    return ToldEngine()


@pytest.fixture
def loop(engine: ToldEngine) -> Iterator[Loop]:
    loop = Loop(engine, report=lambda _: None)
    yield loop
    loop.close()


def test_sequences_are_sent_what_the_engine_tells_of_them(loop: Loop, engine: ToldEngine) -> None:
    caller = submit(loop, asking(5, 6, ENDS, streaming=True, num_return_sequences=2))
    engine.let_go_on()

    assert caller.ids == [[5], [5], [6], [6], [ENDS], [ENDS]]
    assert [delta.index for delta in caller.deltas] == [0, 1] * 3
    assert engine.aborted == []


def test_a_request_that_comes_while_a_step_waits_begins(loop: Loop, engine: ToldEngine) -> None:
    submit(loop, asking(5, ENDS))
    assert engine.has_begun.wait(PATIENCE_S)
    engine.has_begun.clear()

    submit(loop, asking(6, ENDS))

    assert engine.has_begun.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("ending", "failure"),
    [(FAILS, Refused("not like that")), (BREAKS_OFF, RuntimeError("before it was finished"))],
    ids=["fails", "breaks off"],
)
def test_a_request_that_the_engine_does_not_finish_fails_alone(
    loop: Loop, engine: ToldEngine, ending: int, failure: Exception
) -> None:
    failing, fine = submit(loop, asking(5, ending)), submit(loop, asking(6, ENDS))
    engine.let_go_on()

    assert fine.ids == [[6, ENDS]]
    assert failing.ids == []
    assert isinstance(failing.errors[0], type(failure))
    assert str(failure) in str(failing.errors[0])


@pytest.mark.parametrize("num_sequences", [1, 3])
def test_a_request_whose_caller_has_gone_is_aborted_once(
    loop: Loop, engine: ToldEngine, num_sequences: int
) -> None:
    caller = submit(loop, asking(5, ENDS, num_return_sequences=num_sequences))
    assert engine.has_begun.wait(PATIENCE_S)

    caller.is_gone = True

    assert engine.has_aborted.wait(PATIENCE_S)
    assert caller.ids == []
    assert isinstance(caller.errors[0], Cancelled)
    assert [len(keys) for keys in engine.aborted] == [num_sequences]


def test_a_request_goes_on_until_the_last_of_its_sequences_is_stopped(engine: ToldEngine) -> None:
    engine.start([1, 2], asking(5, ENDS))
    assert engine.has_begun.wait(PATIENCE_S)

    engine.stop(1)
    engine.let_go_on()

    gained: list[Progress] = []
    while not any(progress.is_finished for progress in gained):
        gained += engine.step()
    assert [progress.key for progress in gained if progress.ids] == [1, 2, 1, 2]
    assert engine.has_work
    engine.stop(2)
    assert not engine.has_work
    engine.close()


def test_requests_wait_where_the_sequences_are_taken(engine: ToldEngine) -> None:
    engine.start([1, 2, 3], asking(5, ENDS, num_return_sequences=3))

    assert engine.has_room(asking(6))
    assert not engine.has_room(asking(6, num_return_sequences=2))
    engine.close()


def test_closing_aborts_what_is_generated_and_then_ends_the_engine(engine: ToldEngine) -> None:
    loop = Loop(engine, report=lambda _: None)
    caller = submit(loop, asking(5, ENDS))
    assert engine.has_begun.wait(PATIENCE_S)

    loop.close()

    assert len(engine.aborted) == 1
    assert engine.is_shut_down
    assert str(caller.errors[0]) == "the model is shutting down"
