"""When a Triton counts as dead: a table of what was seen, second by second, and what follows."""

import pytest

from gateway.triton.checkup import (
    BROKEN,
    DEAD,
    HUNG,
    SILENCE_S,
    SILENT,
    STALLED,
    WELL,
    Canary,
    Checkup,
    Verdict,
)
from gateway.triton.replica import Progress, Readiness

IDLE = Progress(0, has_come=False, is_decoding=False)
MOVING = Progress(2, has_come=True, is_decoding=True)
PREFILL = Progress(2, has_come=False, is_decoding=False)
HALTED = Progress(2, has_come=False, is_decoding=True)
UNREACHABLE = Readiness.UNREACHABLE.value


def checkup(stall_timeout_s: float = 60) -> Checkup:
    return Checkup(stall_timeout_s, now=0)


def looked(
    seconds: int,
    progress: Progress,
    canary: Canary,
    readiness: Readiness = Readiness.READY,
    stall_timeout_s: float = 60,
) -> tuple[Verdict, int]:
    """Look once a second; return the verdict, and how many canaries were sent."""
    subject, num_canaries = checkup(stall_timeout_s), 0
    for now in range(1, seconds + 1):
        subject.note(now, progress, readiness)
        if subject.wants_canary(now):
            subject.note_canary(now, canary)
            num_canaries += 1
    return subject.verdict, num_canaries


@pytest.mark.parametrize("progress", [IDLE, MOVING], ids=["idle", "moving"])
def test_an_engine_that_gives_no_cause_is_never_asked(progress: Progress) -> None:
    assert looked(600, progress, Canary.UNSERVED) == (WELL, 0)


@pytest.mark.parametrize("progress", [PREFILL, HALTED], ids=["prefill", "halted"])
def test_an_engine_that_answers_is_well_however_silent_its_streams_are(progress: Progress) -> None:
    verdict, num_canaries = looked(600, progress, Canary.ANSWERED)

    assert verdict == WELL
    assert 0 < num_canaries <= 600 / SILENCE_S


def test_a_long_prefill_or_a_full_batch_that_lets_no_canary_in_is_not_death() -> None:
    assert looked(600, PREFILL, Canary.SILENT)[0] == WELL


def test_streams_that_stand_still_and_a_silent_canary_are_a_hung_engine() -> None:
    assert looked(59, HALTED, Canary.SILENT)[0] == WELL
    assert looked(70, HALTED, Canary.SILENT)[0] == STALLED
    assert looked(600, HALTED, Canary.SILENT, stall_timeout_s=0)[0] == WELL


def test_a_model_whose_process_died_is_found_out_within_seconds_of_silence() -> None:
    verdict, num_canaries = looked(7, HALTED, Canary.UNSERVED)

    assert (verdict, num_canaries) == (DEAD, 2)


def test_a_call_that_failed_asks_at_once_and_one_failure_is_no_verdict() -> None:
    subject = checkup()
    subject.note(1, IDLE, Readiness.READY, has_trouble=True)

    assert subject.wants_canary(1)
    subject.note_canary(1, Canary.UNSERVED)
    assert subject.verdict == WELL
    subject.note(2, IDLE, Readiness.READY)
    subject.note_canary(2, Canary.UNSERVED)
    assert subject.verdict == DEAD


def test_the_dead_are_asked_again_and_may_come_back() -> None:
    subject = checkup()
    for now in (1, 2):
        subject.note(now, IDLE, Readiness.READY, has_trouble=True)
        subject.note_canary(now, Canary.UNSERVED)
    asked = []
    for now in range(3, 33):
        subject.note(now, IDLE, Readiness.READY)
        if subject.wants_canary(now):
            asked.append(now)
            subject.note_canary(now, Canary.UNSERVED)

    assert 5 <= len(asked) <= 10
    subject.note_canary(40, Canary.ANSWERED)
    assert subject.verdict == WELL


def test_failures_of_many_calls_ask_once_a_second_at_most() -> None:
    subject, asked = checkup(), 0
    for tenth in range(1, 101):
        subject.note(tenth / 10, MOVING, Readiness.READY, has_trouble=True)
        if subject.wants_canary(tenth / 10):
            asked += 1
            subject.note_canary(tenth / 10, Canary.ANSWERED)

    assert asked <= 10


@pytest.mark.parametrize(
    ("readiness", "progress", "seconds", "verdict"),
    [
        pytest.param(Readiness.UNREACHABLE, IDLE, 1, Verdict(UNREACHABLE), id="gone"),
        pytest.param(Readiness.UNREACHABLE, MOVING, 9, WELL, id="streams come, probes do not"),
        pytest.param(Readiness.UNREACHABLE, HALTED, 2, Verdict(UNREACHABLE), id="just gone"),
        pytest.param(
            Readiness.UNREACHABLE, HALTED, 6, Verdict(UNREACHABLE, is_lost=True), id="long gone"
        ),
        pytest.param(Readiness.SILENT, IDLE, 2, WELL, id="two slow probes"),
        pytest.param(Readiness.SILENT, IDLE, 3, SILENT, id="three unanswered probes"),
        pytest.param(Readiness.SILENT, MOVING, 99, WELL, id="too busy for probes"),
        pytest.param(
            Readiness.NOT_READY, HALTED, 99, Verdict(Readiness.NOT_READY.value), id="unloading"
        ),
    ],
)
def test_what_probes_and_streams_tell_together(
    readiness: Readiness, progress: Progress, seconds: int, verdict: Verdict
) -> None:
    assert looked(seconds, progress, Canary.UNSERVED, readiness) == (verdict, 0)


def test_one_that_comes_back_after_its_death_is_asked_at_once() -> None:
    subject = checkup()
    for now in (1, 2, 4, 8, 13):
        subject.note(now, IDLE, Readiness.READY, has_trouble=True)
        subject.note_canary(now, Canary.UNSERVED)
    subject.note(14, IDLE, Readiness.UNREACHABLE)
    subject.note(15, IDLE, Readiness.READY)

    assert subject.wants_canary(15)


def test_an_engine_that_gave_a_token_before_and_now_fails_at_one_is_broken() -> None:
    subject = checkup()
    subject.note_canary(1, Canary.ANSWERED)
    for now in (2, 3):
        subject.note(now, IDLE, Readiness.READY, has_trouble=True)
        subject.note_canary(now, Canary.BROKEN)

    assert subject.verdict == BROKEN


def test_an_engine_that_needs_more_than_a_token_is_not_taken_for_broken() -> None:
    assert looked(600, PREFILL, Canary.BROKEN)[0] == WELL


STREAMING = Progress(2, has_come=True, is_decoding=True, token_s=0.02)
STILL = Progress(2, has_come=False, is_decoding=True, token_s=0.02)


def hung_after(progress: Progress, seconds: int, **noted: bool) -> bool:
    """Look once a second at streams that stood still from the first; tell whether it is hung."""
    subject = checkup()
    subject.note(0, STREAMING, Readiness.READY, **noted)
    for now in range(1, seconds + 1):
        subject.note(now, progress, Readiness.READY, **noted)
    return subject.verdict == HUNG


@pytest.mark.parametrize(
    ("token_s", "seconds", "expected"),
    [(0.02, 1, False), (0.02, 2, True), (0.2, 9, False), (0.2, 10, True), (0.0, 60, False)],
    ids=["not yet", "two seconds", "slow, not yet", "fifty tokens", "pace unknown"],
)
def test_streams_that_stand_still_for_many_tokens_tell_of_a_hung_engine(
    token_s: float, seconds: int, expected: bool
) -> None:
    progress = STILL._replace(token_s=token_s)

    assert hung_after(progress, seconds, has_others=True) == expected


def test_an_engine_that_is_alone_is_given_the_time_of_a_stall() -> None:
    assert not hung_after(STILL, 30, has_others=False)


def test_an_engine_that_is_stuck_by_its_own_count_is_hung_streams_or_not() -> None:
    assert hung_after(PREFILL, 2, has_others=True, is_stuck=True)


def test_a_long_prompt_is_given_the_time_to_be_read() -> None:
    reading = STILL._replace(prefill_s=10)

    assert not hung_after(reading, 31, has_others=True)
    assert hung_after(reading, 32, has_others=True)


WAITING = Progress(2, has_come=False, is_decoding=False, are_streams=True)


@pytest.mark.parametrize(
    ("progress", "num_canaries", "seconds", "expected"),
    [
        (WAITING, 2, 10, True),
        (WAITING, 2, 9, False),
        (WAITING, 1, 60, False),
        (WAITING._replace(are_streams=False), 9, 60, False),
        (WAITING._replace(prefill_s=10), 9, 39, False),
        (WAITING._replace(prefill_s=10), 9, 40, True),
    ],
    ids=["hung", "not yet", "one canary", "whole answers", "reads", "reads for too long"],
)
def test_streams_that_wait_beside_silent_canaries_tell_of_a_hung_engine(
    progress: Progress, num_canaries: int, seconds: int, expected: bool
) -> None:
    subject = checkup()
    for now in range(seconds + 1):
        subject.note(now, progress, Readiness.READY, has_others=True)
        if 0 < now <= num_canaries:
            subject.note_canary(now, Canary.SILENT)

    assert (subject.verdict == HUNG) == expected


@pytest.mark.parametrize("revives", ["a token", "a canary"])
def test_a_hung_engine_is_well_again_with_a_token_or_a_canary(revives: str) -> None:
    subject = checkup()
    for now in range(4):
        subject.note(now, STILL, Readiness.READY, has_others=True)
    subject.note(4, IDLE, Readiness.READY, has_others=True)
    assert (subject.verdict, subject.wants_canary(4)) == (HUNG, True)

    if revives == "a token":
        subject.note(5, STREAMING, Readiness.READY, has_others=True)
    else:
        subject.note_canary(5, Canary.ANSWERED)

    assert subject.verdict == WELL
