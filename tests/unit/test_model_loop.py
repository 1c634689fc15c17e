"""The loop admits, steps and answers; its engine and its callers are scripted."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from backend.contract import Guide, Refused, Request, Tensors
from backend.engine import Progress, PromptLogProbs
from backend.generation import Cancelled, QueueFull
from backend.loop import Load, Loop
from backend.responses import Delta

PATIENCE_S = 5
PROMPT = PromptLogProbs([-0.5], [])
GOOD, BAD, KNOWN_BAD = Guide("regex", "good"), Guide("regex", "bad"), Guide("regex", "known")


class ScriptedEngine:
    """Gives every sequence the tokens of its prompt, one a step, when allowed to."""

    def __init__(self, slots: int = 8) -> None:
        self.slots = slots
        self.active: dict[int, list[int]] = {}
        self.may_step = threading.Event()
        self.may_step.set()
        self.leaving = 0
        self.has_left = threading.Event()
        self.was_idle = threading.Event()
        self.preparing = threading.Event()
        self.may_prepare = threading.Event()

    def check(self, tensors: Tensors, request: Request) -> None:
        raise NotImplementedError

    def has_room(self, request: Request) -> bool:
        return len(self.active) + request.num_return_sequences <= self.slots

    def is_prepared(self, request: Request) -> bool:
        if request.guide == KNOWN_BAD:
            raise Refused("invalid guide: known")
        return request.guide is None

    def prepare(self, request: Request) -> None:
        self.preparing.set()
        assert self.may_prepare.wait(PATIENCE_S)
        if request.guide == BAD:
            raise Refused("invalid guide: bad")

    @property
    def has_work(self) -> bool:
        return bool(self.active or self.leaving)

    def tidy(self) -> None:
        self.was_idle.set()

    def close(self) -> None:
        self.may_prepare.set()

    def start(self, keys: Sequence[int], request: Request) -> None:
        if request.input_ids == (0,):
            raise Refused("zero cannot start")
        self.active |= {key: list(request.input_ids) for key in keys}

    def step(self) -> Iterator[Progress]:
        self.may_step.wait(0.01)
        self._leave()
        for key, ids in list(self.active.items()) if self.may_step.is_set() else ():
            token = ids.pop(0)
            if token == 13:
                raise RuntimeError("the step went wrong")
            error = RuntimeError("no room") if token == 99 else None
            tops = [[(token, -0.5)]]
            yield Progress(key, [token], [-0.5], not ids, error, tops=tops, prompt=PROMPT)

    def wake(self) -> None:
        pass

    def _leave(self) -> None:
        if self.leaving:
            self.leaving -= 1
            if not self.leaving:
                self.has_left.set()

    def stop(self, key: int) -> None:
        self.active.pop(key, None)

    def reset(self) -> None:
        self.active.clear()


@dataclass
class Caller:
    """Records what it is sent."""

    deltas: list[Delta] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    is_gone: bool = False
    has_ended: threading.Event = field(default_factory=threading.Event)

    def is_cancelled(self) -> bool:
        return self.is_gone

    def send(self, delta: Delta, is_final: bool) -> None:
        self.deltas.append(delta)
        if is_final:
            self.has_ended.set()

    def end(self) -> None:
        self.has_ended.set()

    def fail(self, error: Exception) -> None:
        self.errors.append(error)
        self.has_ended.set()

    @property
    def ids(self) -> list[list[int]]:
        """The ids of every delta, once the final one was sent."""
        assert self.has_ended.wait(PATIENCE_S)
        return [delta.ids for delta in self.deltas]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def loads() -> list[Load]:
    return []


@pytest.fixture
def loop(engine: ScriptedEngine, loads: list[Load]) -> Iterator[Loop]:
    loop = Loop(engine, report=loads.append)
    yield loop
    engine.may_step.set()
    loop.close()


def asking(*ids: int, max_tokens: int = 100, **options: object) -> Request:
    return Request(**{"id": "a", "input_ids": ids, "max_tokens": max_tokens, **options})  # type: ignore[arg-type]


def submit(loop: Loop, request: Request) -> Caller:
    caller = Caller()
    loop.submit(request, caller)
    return caller


def test_a_stream_is_sent_token_by_token(loop: Loop) -> None:
    assert submit(loop, asking(5, 6, 7, streaming=True)).ids == [[5], [6], [7]]


def test_an_answer_that_does_not_stream_is_sent_once(loop: Loop) -> None:
    caller = submit(loop, asking(5, 6, 7, return_log_probs=True))

    assert caller.ids == [[5, 6, 7]]
    assert caller.deltas[0].log_probs == [-0.5] * 3


def test_a_stream_carries_the_log_probs_of_all_tokens_so_far(loop: Loop) -> None:
    caller = submit(loop, asking(5, 6, 7, end_id=7, streaming=True, return_log_probs=True))

    assert caller.ids == [[5], [6], []]
    assert [delta.log_probs for delta in caller.deltas] == [[-0.5], [-0.5] * 2, [-0.5] * 2]


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
def test_the_likeliest_are_sent_with_their_tokens(loop: Loop, streaming: bool) -> None:
    caller = submit(loop, asking(5, 6, streaming=streaming, num_top_log_probs=1))

    assert [token for ids in caller.ids for token in ids] == [5, 6]
    assert [top for delta in caller.deltas for top in delta.tops] == [[(5, -0.5)], [(6, -0.5)]]
    assert caller.deltas[0].prompt == PROMPT


def test_several_sequences_are_each_sent(loop: Loop) -> None:
    caller = submit(loop, asking(5, 6, num_return_sequences=2))

    assert caller.ids == [[5, 6], [5, 6]]
    assert [delta.index for delta in caller.deltas] == [0, 1]


def test_a_sequence_that_reached_its_end_is_stopped_in_the_engine(
    loop: Loop, engine: ScriptedEngine
) -> None:
    assert submit(loop, asking(5, 6, 7, end_id=6, streaming=True)).ids == [[5], []]
    assert engine.active == {}


def test_a_step_that_raises_fails_those_in_flight_and_nobody_after(
    loop: Loop, engine: ScriptedEngine
) -> None:
    engine.may_step.clear()
    callers = [submit(loop, asking(5, 6, 7)), submit(loop, asking(5, 13))]
    engine.may_step.set()

    assert [caller.ids for caller in callers] == [[], []]
    assert [str(caller.errors[0]) for caller in callers] == ["the step went wrong"] * 2
    assert submit(loop, asking(5, 6)).ids == [[5, 6]]


def test_a_sequence_that_fails_takes_only_its_own_request_down(loop: Loop) -> None:
    failing, fine = submit(loop, asking(5, 99)), submit(loop, asking(5, 6))

    assert fine.ids == [[5, 6]]
    assert failing.ids == []
    assert str(failing.errors[0]) == "no room"


def test_a_request_that_cannot_start_is_refused_alone(loop: Loop) -> None:
    refused, fine = submit(loop, asking(0)), submit(loop, asking(5))

    assert fine.ids == [[5]]
    assert [str(error) for error in refused.errors] == ["zero cannot start"]


def test_the_newest_beyond_the_queue_are_refused_and_the_others_served_in_turn() -> None:
    engine = ScriptedEngine(slots=1)
    engine.may_step.clear()
    loop = Loop(engine, max_queue_size=1, report=lambda load: None)

    callers = [submit(loop, asking(5)) for _ in range(3)]
    assert callers[2].has_ended.wait(PATIENCE_S)
    engine.may_step.set()

    assert [caller.ids for caller in callers] == [[[5]], [[5]], []]
    assert isinstance(callers[2].errors[0], QueueFull)
    loop.close()


@pytest.mark.parametrize("slots", [1, 0], ids=["running", "waiting"])
def test_a_stop_ends_the_generation_with_its_id_and_no_other(slots: int) -> None:
    engine = ScriptedEngine(slots)
    engine.may_step.clear()
    loop = Loop(engine, report=lambda load: None)
    stopped, stopping = submit(loop, asking(5, 6, id="one")), Caller()
    other = submit(loop, asking(5, 6, id="two"))

    loop.stop("one", stopping)

    assert stopped.ids == [[]]
    assert stopping.ids == []
    assert not other.has_ended.is_set()
    engine.may_step.set()
    engine.slots = 1
    assert other.ids == [[5, 6]]
    loop.close()


def test_a_stop_for_an_unknown_id_is_answered(loop: Loop) -> None:
    stopping = Caller()

    loop.stop("nobody", stopping)

    assert (stopping.ids, stopping.errors) == ([], [])


def test_a_caller_that_has_gone_is_forgotten(loop: Loop, engine: ScriptedEngine) -> None:
    engine.may_step.clear()
    caller = submit(loop, asking(5, 6))

    caller.is_gone = True

    assert caller.ids == []
    assert isinstance(caller.errors[0], Cancelled)
    assert engine.active == {}


def test_the_load_is_reported_and_goes_back_to_nothing(loop: Loop, loads: list[Load]) -> None:
    submit(loop, asking(5, 6, num_return_sequences=2)).has_ended.wait(PATIENCE_S)
    loop.close()

    assert Load(active=1, waiting=0) in loads
    assert loads[-1] == Load(active=0, waiting=0)


def test_closing_fails_what_is_in_flight(engine: ScriptedEngine) -> None:
    engine.may_step.clear()
    loop = Loop(engine, report=lambda load: None)
    caller = submit(loop, asking(5, 6))

    loop.close()

    assert caller.ids == []
    assert "shutting down" in str(caller.errors[0])


def test_others_are_answered_while_a_request_is_prepared(
    loop: Loop, engine: ScriptedEngine, loads: list[Load]
) -> None:
    prepared = submit(loop, asking(5, 6, guide=GOOD))
    assert engine.preparing.wait(PATIENCE_S)

    assert submit(loop, asking(7, 8)).ids == [[7, 8]]

    assert not prepared.has_ended.is_set()
    assert Load(active=1, waiting=1) in loads
    engine.may_prepare.set()
    assert prepared.ids == [[5, 6]]


@pytest.mark.parametrize(
    ("guide", "reason"),
    [
        pytest.param(BAD, "invalid guide: bad", id="found to be"),
        pytest.param(KNOWN_BAD, "invalid guide: known", id="known to be"),
    ],
)
def test_a_request_that_cannot_be_prepared_is_refused_alone(
    loop: Loop, engine: ScriptedEngine, guide: Guide, reason: str
) -> None:
    engine.may_prepare.set()
    refused, fine = submit(loop, asking(5, guide=guide)), submit(loop, asking(5))

    assert fine.ids == [[5]]
    assert refused.ids == []
    assert [str(error) for error in refused.errors] == [reason]


@pytest.mark.parametrize("ending", ["gone", "stopped"])
def test_a_request_that_ends_while_it_is_prepared_never_starts(
    loop: Loop, engine: ScriptedEngine, ending: str
) -> None:
    caller = submit(loop, asking(5, 6, guide=GOOD, id="one"))
    assert engine.preparing.wait(PATIENCE_S)

    if ending == "gone":
        caller.is_gone = True
    else:
        loop.stop("one", Caller())

    assert caller.has_ended.wait(PATIENCE_S)
    engine.may_prepare.set()
    assert submit(loop, asking(7, guide=GOOD)).ids == [[7]]
    assert caller.deltas[1:] == []


def test_more_than_can_be_prepared_in_time_are_refused_and_the_others_served(
    loop: Loop, engine: ScriptedEngine
) -> None:
    callers = [submit(loop, asking(5, guide=GOOD)) for _ in range(65)]

    assert callers[64].has_ended.wait(PATIENCE_S)
    engine.may_prepare.set()

    assert [caller.ids for caller in callers] == [[[5]]] * 64 + [[]]
    assert isinstance(callers[64].errors[0], QueueFull)


def test_closing_fails_what_is_being_prepared(loop: Loop, engine: ScriptedEngine) -> None:
    callers = [submit(loop, asking(5, guide=GOOD)) for _ in range(2)]
    assert engine.preparing.wait(PATIENCE_S)

    loop.close()

    assert [str(caller.errors[0]) for caller in callers] == ["the model is shutting down"] * 2


def test_the_engine_goes_on_with_what_it_was_told_to_stop(
    loop: Loop, engine: ScriptedEngine
) -> None:
    engine.leaving = 3

    submit(loop, asking(5)).has_ended.wait(PATIENCE_S)

    assert engine.has_left.wait(PATIENCE_S)


def test_the_engine_may_tidy_up_where_there_is_nothing_to_do(
    loop: Loop, engine: ScriptedEngine
) -> None:
    assert engine.was_idle.wait(PATIENCE_S)
    engine.was_idle.clear()
    engine.may_step.clear()

    caller = submit(loop, asking(5, 6))

    assert not engine.was_idle.is_set()
    engine.may_step.set()
    assert caller.ids == [[5, 6]]
    assert engine.was_idle.wait(PATIENCE_S)
