"""Ejection, return and slow start of a replica; the budget of retries. No clock but the test's."""

import itertools

import pytest

from gateway.errors import (
    ContextTooLong,
    EngineFailure,
    EngineTimeout,
    EngineUnavailable,
    GatewayError,
    Overloaded,
)
from gateway.triton.retries import MAX_TRIES, Again, RetryBudget, verdict
from gateway.triton.standing import (
    CONSECUTIVE_FAILURES,
    JITTER,
    LONGEST_EJECTION_S,
    SLOW_START_S,
    Standing,
    may_eject,
)

FULL_PER_S = 1000.0


def test_only_failures_in_a_row_count() -> None:
    standing = Standing()
    told = []
    for _ in range(3):
        told += [standing.note_failure() for _ in range(CONSECUTIVE_FAILURES - 1)]
        standing.note_success()

    assert not any(told)
    assert [standing.note_failure() for _ in range(CONSECUTIVE_FAILURES)][-1]


def test_ejections_grow_up_to_a_bound() -> None:
    standing = Standing()

    seconds = [standing.eject(now=0, chance=0.5) for _ in range(20)]

    assert seconds == sorted(seconds)
    assert (seconds[:3], seconds[-1]) == ([5, 10, 20], LONGEST_EJECTION_S)


@pytest.mark.parametrize(("chance", "factor"), [(0, 1 - JITTER), (1, 1 + JITTER)])
def test_ejections_are_jittered(chance: float, factor: float) -> None:
    assert Standing().eject(now=0, chance=chance) == pytest.approx(5 * factor)


@pytest.mark.parametrize(
    ("serving", "members", "expected"),
    [(1, 1, False), (2, 2, True), (1, 2, False), (3, 3, True), (2, 3, False), (1, 3, False)],
)
def test_half_of_a_pool_and_one_at_least_is_never_ejected(
    serving: int, members: int, expected: bool
) -> None:
    assert may_eject(serving, members) == expected


def admitted(seconds: float, call_tokens: int) -> list[int]:
    """Return the tokens of each second that a returning replica is let have, 50 asks a second."""
    standing = Standing()
    standing.come_back(now=0, full_tokens_per_s=FULL_PER_S)
    tokens = [0] * int(seconds)
    for tick in range(int(seconds * 50)):
        if standing.admits(tick / 50):
            standing.spend(call_tokens)
            tokens[tick // 50] += call_tokens
    return tokens


def test_a_return_begins_with_one_call_and_never_takes_more_than_it_is_allowed() -> None:
    tokens = admitted(SLOW_START_S, call_tokens=20)

    allowed = [FULL_PER_S * max(0.1, (second + 1) / SLOW_START_S) for second in range(10)]
    totals = zip(itertools.accumulate(tokens), itertools.accumulate(allowed), strict=True)
    assert all(total <= most + 20 for total, most in totals)
    assert tokens[-1] > 5 * tokens[0] > 0


def test_the_first_call_alone_is_let_through_until_it_is_paid_for() -> None:
    standing = Standing()
    standing.come_back(now=0, full_tokens_per_s=FULL_PER_S)
    assert standing.admits(0)

    standing.spend(500)

    assert not standing.admits(0.1)
    assert standing.is_starting


def test_after_slow_start_nothing_is_held_back() -> None:
    standing = Standing()
    standing.come_back(now=0, full_tokens_per_s=FULL_PER_S)
    standing.spend(10**9)

    assert standing.admits(SLOW_START_S)
    assert not standing.is_starting


LOST, FAILED, FULL = EngineUnavailable(""), EngineFailure(""), Overloaded("")


@pytest.mark.parametrize(
    ("error", "earlier", "is_lost", "expected"),
    [
        (LOST, [], True, Again.MOVE),
        (LOST, [], False, Again.RETRY),
        (LOST, [LOST], True, Again.MOVE),
        (LOST, [LOST, LOST], True, Again.NEVER),
        (FULL, [], False, Again.RETRY),
        (FAILED, [], False, Again.RETRY),
        (FAILED, [FAILED], False, Again.NEVER),
        (FAILED, [FULL], False, Again.RETRY),
        (EngineTimeout(""), [], False, Again.NEVER),
        (ContextTooLong(""), [], False, Again.NEVER),
    ],
)
def test_what_may_follow_a_failure(
    error: GatewayError, earlier: list[GatewayError], is_lost: bool, expected: Again
) -> None:
    assert verdict(error, earlier, is_lost=is_lost) is expected
    assert len(earlier) < MAX_TRIES


@pytest.mark.parametrize(("num_live", "expected"), [(0, 3), (10, 3), (20, 4), (200, 40)])
def test_repeats_at_once_are_a_fifth_of_what_is_live_and_three_at_least(
    num_live: int, expected: int
) -> None:
    budget = RetryBudget()

    allowed = [budget.allows(num_live, now=0) for _ in range(300)]

    assert allowed == [True] * expected + [False] * (300 - expected)


def test_repeats_that_fail_at_once_count_for_a_second() -> None:
    budget = RetryBudget()
    for now in (0.0, 0.1, 0.2):
        assert budget.allows(0, now)
        budget.end(began=now, now=now)

    allowed = [budget.allows(0, now) for now in (0.5, 0.9, 1.05, 1.06)]

    assert allowed == [False, False, True, False]
