"""Threads that send what calls are told: in order, joined only while their turn has not come."""

import threading
from collections.abc import Iterator

import pytest
from backend.contract import Request
from backend.delivery import Delivery
from backend.generation import Cancelled
from backend.responses import Delta

PATIENCE_S = 30


class SlowCall:
    """Records what it is sent; the first response is held until it is let go."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, list[int], bool]] = []
        self.ends: list[str] = []
        self.is_sending = threading.Event()
        self.may_go_on = threading.Event()

    def is_cancelled(self) -> bool:
        return False

    def send(self, delta: Delta, is_final: bool) -> None:
        self.sent.append((delta.index, list(delta.ids), is_final))
        self.is_sending.set()
        assert self.may_go_on.wait(PATIENCE_S)

    def end(self) -> None:
        self.ends.append("end")

    def fail(self, error: Exception) -> None:
        self.ends.append(str(error))


@pytest.fixture
def delivery() -> Iterator[Delivery]:
    delivery = Delivery(2)
    yield delivery
    delivery.close()


def delta(*ids: int, index: int = 0) -> Delta:
    request = Request(id="", input_ids=(1,), max_tokens=9, streaming=True)
    return Delta(request, index, list(ids), [])


def test_without_threads_a_call_sends_for_itself() -> None:
    call = SlowCall()

    assert Delivery(0).of(call) is call


def test_nothing_is_sent_before_the_flush(delivery: Delivery) -> None:
    call = SlowCall()

    delivery.of(call).send(delta(1), False)

    assert call.sent == []
    call.may_go_on.set()


def test_what_waits_for_a_turn_goes_out_as_one_for_each_sequence(delivery: Delivery) -> None:
    call = SlowCall()
    posted = delivery.of(call)
    posted.send(delta(1), False)
    delivery.flush()
    assert call.is_sending.wait(PATIENCE_S)

    for item in (delta(2), delta(3), delta(7, index=1), delta(4)):
        posted.send(item, False)
        delivery.flush()
    posted.send(delta(5), True)
    call.may_go_on.set()
    delivery.close()

    rest = [(0, [2, 3], False), (1, [7], False), (0, [4, 5], True)]
    assert call.sent == [(0, [1], False), *rest]


def test_an_error_comes_after_what_was_generated_before_it(delivery: Delivery) -> None:
    call = SlowCall()
    call.may_go_on.set()
    posted = delivery.of(call)

    posted.send(delta(1), False)
    posted.fail(Cancelled("gone"))
    delivery.close()

    assert (call.sent, call.ends) == ([(0, [1], False)], ["gone"])


def test_a_slow_call_holds_up_no_call_of_the_other_thread(delivery: Delivery) -> None:
    slow, quick = SlowCall(), SlowCall()
    quick.may_go_on.set()
    delivery.of(slow).send(delta(1), False)
    delivery.of(quick).send(delta(2), False)

    delivery.flush()

    assert slow.is_sending.wait(PATIENCE_S)
    assert quick.is_sending.wait(PATIENCE_S)
    slow.may_go_on.set()
