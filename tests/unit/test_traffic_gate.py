"""The gate on a clock of its own: places, the queue, and the bound of fairness."""

import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from gateway.traffic.caller import Priority
from gateway.traffic.gate import LONGEST_RETRY_S, Capacity, Full, Gate, Ticket, Weights

PER_TOKEN_S = 0.02
WEIGHTS = Weights()


@dataclass
class Engine:
    """What is behind the gate: every answer takes its tokens' time, and all run side by side."""

    gate: Gate
    now: float = 0.0
    running: list[tuple[float, int, Ticket, int]] = field(default_factory=list)
    served: Counter[str] = field(default_factory=Counter)
    cost: Counter[str] = field(default_factory=Counter)
    num_refused: Counter[str] = field(default_factory=Counter)
    real: dict[Ticket, int] = field(default_factory=dict)

    def offer(self, key: str, prompt: int, output: int, guess: float, **ticket: object) -> None:
        """Ask for an answer that will have so many tokens, of which the gate has a guess."""
        asked = Ticket(key, prompt, prompt + output, guess, **ticket)  # type: ignore[arg-type]
        self.real[asked] = output
        try:
            for pushed in self.gate.apply(asked, self.now):
                self.num_refused[pushed.key] += 1
        except Full:
            self.num_refused[key] += 1
        self._begin()

    def run(self, until: float) -> None:
        """Let time pass."""
        while self.running and self.running[0][0] <= until:
            self.now, _, ticket, output = heapq.heappop(self.running)
            self.served[ticket.key] += ticket.prompt_tokens + output
            self.cost[ticket.key] += WEIGHTS.cost(ticket.prompt_tokens, output)  # type: ignore[assignment]
            self.gate.leave(ticket, self.now, output)
            self._begin()
        self.now = until

    def _begin(self) -> None:
        for ticket in self.gate.dispatch():
            output = self.real.pop(ticket)
            heapq.heappush(
                self.running, (self.now + output * PER_TOKEN_S, id(ticket), ticket, output)
            )


def test_places_are_bounded_by_requests_and_by_tokens() -> None:
    few, small = Engine(Gate(Capacity(requests=2), 10)), Engine(Gate(Capacity(tokens=250), 10))
    for engine in (few, small):
        for _ in range(4):
            engine.offer("a", 50, 50, 50)

    assert (few.gate.num_running, few.gate.num_waiting) == (2, 2)
    assert (small.gate.num_running, small.gate.kv_tokens, small.gate.num_waiting) == (2, 200, 2)


def test_what_could_never_run_is_refused_for_good() -> None:
    with pytest.raises(Full) as caught:
        Gate(Capacity(tokens=100), 10).apply(Ticket("a", 50, 101, 10), 0)

    assert caught.value.retry_after_s == math.inf


@pytest.mark.parametrize("load", [1, 10], ids=["equal", "tenfold"])
def test_two_keys_get_half_each_whatever_each_offers(load: int) -> None:
    rng = random.Random(3)
    engine = Engine(Gate(Capacity(requests=8), 64))
    for step in range(2000):
        engine.run(step * 0.05)
        for _ in range(load):
            engine.offer("greedy", rng.randrange(10, 100), rng.randrange(5, 100), 50)
        engine.offer("modest", rng.randrange(10, 100), rng.randrange(5, 100), 50)

    share = engine.cost["modest"] / engine.cost.total()
    assert share == pytest.approx(0.5, abs=0.025)
    assert engine.num_refused.total() > 1000


def test_the_difference_of_service_stays_within_the_papers_bound() -> None:
    # Theorem 4.4 of the paper: for clients that wait all the time, at most 2 max(wp Lin, wq M).
    rng = random.Random(5)
    capacity, longest = 2000, 200
    engine = Engine(Gate(Capacity(tokens=capacity), 1000))
    bound = 2 * max(WEIGHTS.prompt * longest, WEIGHTS.output * capacity)
    worst = 0.0
    for step in range(3000):
        engine.run(step * 0.1)
        waiting = Counter(ticket.key for ticket in engine.real)
        for key, size in (("long", longest), ("short", 20), ("mixed", rng.choice([10, longest]))):
            for _ in range(20 - waiting[key]):
                engine.offer(key, size, rng.randrange(5, size), size / 2)
        worst = max(worst, max(engine.cost.values(), default=0) - min_of(engine))

    assert worst <= bound
    assert min_of(engine) > 10 * bound


def min_of(engine: Engine) -> float:
    return min((engine.cost[key] for key in ("long", "short", "mixed")), default=0)


def test_a_key_that_comes_back_has_saved_nothing_up() -> None:
    engine = Engine(Gate(Capacity(requests=4), 64))
    for step in range(1000):
        engine.run(step * 0.1)
        engine.offer("busy", 20, 20, 20)
    before = Counter(engine.cost)
    for step in range(1000, 1400):
        engine.run(step * 0.1)
        engine.offer("busy", 20, 20, 20)
        engine.offer("back", 20, 20, 20)
        engine.offer("back", 20, 20, 20)
    gained = engine.cost - before

    assert gained["back"] / gained.total() == pytest.approx(0.5, abs=0.05)


def test_who_waits_alone_is_not_punished_for_what_was_served_to_it_alone() -> None:
    engine = Engine(Gate(Capacity(requests=2), 64))
    for step in range(1000):
        engine.run(step * 0.5)
        engine.offer("first", 20, 20, 20)
    engine.run(1000)
    before = Counter(engine.cost)
    for step in range(400):
        engine.run(1000 + step * 0.1)
        engine.offer("first", 20, 20, 20)
        engine.offer("second", 20, 20, 20)
    gained = engine.cost - before

    assert gained["first"] / gained.total() == pytest.approx(0.5, abs=0.05)


def test_batch_gets_what_interactive_leaves() -> None:
    engine = Engine(Gate(Capacity(requests=1), 64))
    for _ in range(3):
        engine.offer("a", 10, 10, 10, priority=Priority.BATCH)
    for _ in range(3):
        engine.offer("b", 10, 10, 10)
    engine.run(3.5 * 10 * PER_TOKEN_S)

    assert engine.served == {"a": 20, "b": 40}
    assert engine.gate.num_waiting == 2


def waiting(gate: Gate, kv_tokens: int = 10, priority: Priority = Priority.INTERACTIVE) -> Ticket:
    """Return a ticket that had to wait, or not."""
    ticket = Ticket("k", 0, kv_tokens, 0, priority=priority)
    gate.apply(ticket, 0.0)
    gate.dispatch()
    return ticket


def test_the_youngest_of_batch_make_room_for_interactive_as_few_as_that_takes() -> None:
    gate = Gate(Capacity(requests=3), 8)
    _, second, third = [waiting(gate, priority=Priority.BATCH) for _ in range(3)]

    chosen = [gate.preempt(waiting(gate)) for _ in range(2)]
    again = gate.preempt(waiting(gate, priority=Priority.BATCH))

    assert chosen == [[third], [second]]
    assert second.is_preempted
    assert third.is_preempted
    assert not again


def test_who_was_preempted_leaves_its_place_to_interactive() -> None:
    gate = Gate(Capacity(requests=1), 8)
    batch = waiting(gate, priority=Priority.BATCH)
    other = waiting(gate)
    gate.preempt(other)
    twice = gate.preempt(other)

    gate.leave(batch, 0.0, 0)

    assert not twice
    assert gate.dispatch() == [other]


def test_of_whom_something_has_come_is_never_preempted() -> None:
    gate = Gate(Capacity(requests=1), 8)
    gate.note_begun(waiting(gate, priority=Priority.BATCH))

    assert not gate.preempt(waiting(gate))


@pytest.mark.parametrize(
    ("need", "num_chosen"), [(10, 1), (40, 2), (90, 0)], ids=["one", "two", "not-enough"]
)
def test_batch_makes_room_in_the_kv_cache_where_that_is_enough(need: int, num_chosen: int) -> None:
    gate = Gate(Capacity(tokens=100), 8)
    waiting(gate, 60)
    batch = [waiting(gate, 20, Priority.BATCH) for _ in range(2)]

    chosen = gate.preempt(waiting(gate, need))

    assert chosen == batch[::-1][:num_chosen]


def test_a_full_queue_makes_room_for_who_has_less_in_it() -> None:
    engine = Engine(Gate(Capacity(requests=1), 4))
    for _ in range(6):
        engine.offer("many", 10, 10, 10)
    engine.offer("few", 10, 10, 10)

    assert engine.num_refused == {"many": 2}
    assert engine.gate.num_waiting == 4
    with pytest.raises(Full):
        engine.gate.apply(Ticket("many", 10, 20, 10), engine.now)


def test_what_would_miss_its_deadline_is_refused_at_once() -> None:
    engine = Engine(Gate(Capacity(requests=1), 1000))
    for step in range(40):
        engine.run(step * 0.1)
        engine.offer("a", 10, 10, 10)
    now = engine.now

    with pytest.raises(Full, match="deadline") as caught:
        engine.gate.apply(Ticket("a", 10, 20, 10, deadline=now + 0.1), now)
    engine.gate.apply(Ticket("a", 10, 20, 10, deadline=now + 600), now)

    assert 0 < caught.value.retry_after_s <= LONGEST_RETRY_S * 1.2


def test_when_to_come_back_grows_with_the_work_ahead() -> None:
    engine, told = Engine(Gate(Capacity(requests=1), 100_000)), []
    for step in range(400):
        engine.run(step * 0.1)
        engine.offer("a", 10, 10, 10)
        told.append(engine.gate.retry_after_s(engine.now))

    assert told[100] < told[200] < told[300]
    assert max(told) <= LONGEST_RETRY_S * 1.2


def test_what_is_counted_ends_at_nothing() -> None:
    rng = random.Random(11)
    engine = Engine(Gate(Capacity(requests=4, tokens=900), 32))
    for step in range(500):
        engine.run(step * 0.2)
        engine.offer(f"key-{rng.randrange(40)}", rng.randrange(1, 99), rng.randrange(1, 99), 50)
        if step % 7 == 0 and engine.real:
            ticket = next(iter(engine.real))
            engine.gate.withdraw(ticket)
    engine.run(10_000)
    gate = engine.gate

    assert (gate.num_running, gate.num_waiting, gate.kv_tokens) == (0, 0, 0)
    assert gate._waiting_tokens == pytest.approx(0)
    assert not gate._open


def test_keys_that_come_once_are_not_remembered_for_ever() -> None:
    engine = Engine(Gate(Capacity(requests=4), 32))
    for step in range(10_000):
        engine.run(step * 1.0)
        engine.offer(f"key-{step}", 10, 10, 10)

    assert len(engine.gate._counters) < 3000
