"""Limits as they are counted: exact over every minute, whatever is asked and when."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.traffic.ledger import SLOT_MS, WINDOW_MS, Demand, Kind, Ledger, Refund

ME = "me"


def requests(amount: int, need: int = 1) -> list[Demand]:
    return [Demand("requests:key:a", Kind.REQUESTS, amount, need)]


def most_in_a_minute(taken: Sequence[tuple[float, int]]) -> int:
    """Return the most that any minute holds: one that begins with something does."""
    return max(
        (
            sum(amount for at, amount in taken if start <= at < start + WINDOW_MS)
            for start, _ in taken
        ),
        default=0,
    )


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0, 20_000), st.integers(1, 7)), min_size=1, max_size=120),
    amount=st.integers(1, 20),
)
def test_no_minute_holds_more_than_the_limit(steps: list[tuple[float, int]], amount: int) -> None:
    ledger, now, taken = Ledger(), 0.0, []
    for pause_ms, need in steps:
        now += pause_ms
        if ledger.take(ME, requests(amount, need), now).broken < 0:
            taken.append((now, need))

    assert most_in_a_minute(taken) <= amount


def test_who_asks_all_the_time_gets_nearly_all_of_the_limit() -> None:
    ledger, minutes = Ledger(), 10
    taken = sum(
        ledger.take(ME, requests(100), float(now)).broken < 0
        for now in range(0, minutes * WINDOW_MS, 50)
    )

    assert 0.98 * minutes * 100 <= taken <= minutes * 100


def test_who_comes_back_when_told_is_let_in_and_not_a_moment_before() -> None:
    ledger = Ledger()
    for now in (0, 1000, 2000):
        ledger.take(ME, requests(3), now)

    refused = ledger.take(ME, requests(3), 3000)

    assert refused.broken == 0
    assert WINDOW_MS - 3000 < refused.retry_ms <= WINDOW_MS - 3000 + SLOT_MS
    assert ledger.take(ME, requests(3), 3000 + refused.retry_ms - 1).broken == 0
    assert ledger.take(ME, requests(3), 3000 + refused.retry_ms).broken == -1


def test_what_is_refused_by_one_limit_is_not_taken_from_another() -> None:
    ledger = Ledger()
    few, many = Demand("few", Kind.TOKENS, 10, 11), Demand("many", Kind.REQUESTS, 5, 1)

    verdict = ledger.take(ME, [many, few], 0)

    assert (verdict.broken, verdict.retry_ms) == (1, -1)
    assert ledger.take(ME, [many], 0).states[0].remaining == 4


@pytest.mark.parametrize(
    ("extra", "remaining"),
    [(-60, 69), (-100, 99), (-1000, 99), (5, 4)],
    ids=["some", "all", "more", "owed"],
)
def test_what_was_not_used_is_there_again(extra: int, remaining: int) -> None:
    ledger = Ledger()
    demand = Demand("tokens", Kind.TOKENS, 100, 90)
    slot = ledger.take(ME, [demand], 0).slot

    ledger.give(ME, [Refund("tokens", Kind.TOKENS, slot, extra)], 30_000)

    look = ledger.take(ME, [Demand("tokens", Kind.TOKENS, 100, 1)], 30_000)
    assert look.states[0].remaining == remaining


def test_what_is_put_back_late_changes_nothing() -> None:
    ledger = Ledger()
    slot = ledger.take(ME, [Demand("tokens", Kind.TOKENS, 100, 90)], 0).slot
    later = 2 * WINDOW_MS
    ledger.take(ME, [Demand("tokens", Kind.TOKENS, 100, 40)], later)

    ledger.give(ME, [Refund("tokens", Kind.TOKENS, slot, -90)], later)

    assert ledger.take(ME, [Demand("tokens", Kind.TOKENS, 100, 1)], later).states[0].remaining == 59


def test_places_are_free_again_when_left_and_when_their_holder_is_gone() -> None:
    ledger = Ledger()
    place = [Demand("places", Kind.CONCURRENT, 2, 1)]
    ledger.take("a", place, 0)
    ledger.take("b", place, 0)
    assert ledger.take("b", place, 0).broken == 0

    ledger.give("a", [Refund("places", Kind.CONCURRENT, 0, -1)], 0)
    assert ledger.take("b", place, 0).broken == -1
    ledger.drop("b")

    assert [ledger.take("c", place, 0).broken for _ in range(3)] == [-1, -1, 0]


def test_windows_that_are_empty_are_forgotten() -> None:
    ledger = Ledger()
    for number in range(5000):
        ledger.take(ME, [Demand(f"key:{number}", Kind.REQUESTS, 1, 1)], number * 100.0)

    assert len(ledger._windows) < 2100
