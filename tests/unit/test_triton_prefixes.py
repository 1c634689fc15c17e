"""Prefixes of prompts: how they are told apart, where they are expected, what is forgotten."""

import random
import struct

import pytest

from gateway.triton.prefixes import MAX_KNOWN, MAX_MARKS, MAX_TALKS, Mark, Prefixes, marks_of

END = 9


def packed(*token_ids: int) -> bytes:
    return struct.pack(f"<{len(token_ids)}i", *token_ids)


def test_prefixes_end_with_control_tokens_the_longest_first() -> None:
    marks = marks_of(packed(1, 2, END, 3, END, 4), [END])

    assert [mark.num_tokens for mark in marks] == [5, 3]
    assert marks[1] == marks_of(packed(1, 2, END), [END])[0]


@pytest.mark.parametrize(
    "token_ids", [(1, 2, 3), (0x0900, 0x090000), ()], ids=["none", "only across", "empty"]
)
def test_bytes_that_are_no_token_are_no_end(token_ids: tuple[int, ...]) -> None:
    assert marks_of(packed(*token_ids), [END]) == ()


def test_of_many_turns_the_last_and_the_first_are_known() -> None:
    turns = [each for turn in range(100) for each in (turn + 100, END)]

    marks = marks_of(packed(*turns), [END])

    lengths = [mark.num_tokens for mark in marks]
    assert len(lengths) == MAX_MARKS
    assert (lengths[0], lengths[-2:]) == (200, [4, 2])


@pytest.mark.parametrize("seed", range(20))
def test_prefixes_are_where_control_tokens_are_whatever_stands_around(seed: int) -> None:
    draw = random.Random(seed)
    token_ids = [draw.choice([END, 8, 9 << 8, 9 << 16, 9 << 24, 2304]) for _ in range(40)]

    ends = [at + 1 for at, token_id in enumerate(token_ids) if token_id == END]

    expected = ends if len(ends) <= MAX_MARKS else [*ends[:2], *ends[2 - MAX_MARKS :]]
    found = [mark.num_tokens for mark in marks_of(packed(*token_ids), [END])]
    assert found == expected[::-1]


def marks(*lengths: int, of: int = 0) -> tuple[Mark, ...]:
    """Return the prefixes of a prompt, longest first."""
    return tuple(Mark(length, of + length) for length in sorted(lengths, reverse=True))


def test_what_was_sent_somewhere_is_expected_there() -> None:
    known = Prefixes()
    known.note(1, marks(10, 20), "", 25)
    known.note(2, marks(10), "", 12)

    assert known.predict(marks(10, 20, 30), "", 40).tokens == {1: 20, 2: 10}
    assert known.predict(marks(10, of=500), "", 40).tokens == {}


def test_a_session_is_expected_where_it_last_was() -> None:
    known = Prefixes()
    known.note(1, (), "session", 25)
    known.note(2, (), "session", 50)

    assert known.predict((), "session", 40).tokens == {2: 40}
    assert known.predict((), "another", 40).tokens == {}


@pytest.mark.parametrize(
    ("prompt", "session", "home"),
    [
        ((10, 20, 30), "", 2),
        ((10, 20), "", 2),
        ((10, 15), "", 0),
        ((10, 15), "agent", 3),
        ((10, 20, 30), "agent", 2),
    ],
    ids=["goes on", "again", "another that begins alike", "of a session", "goes on in a session"],
)
def test_a_conversation_is_at_home_where_its_last_request_went(
    prompt: tuple[int, ...], session: str, home: int
) -> None:
    known = Prefixes()
    known.note(1, marks(10, 20), "", 25)
    known.note(2, marks(10, 20), "", 25)
    known.note(3, (), "agent", 25)

    assert known.predict(marks(*prompt), session, 40).home == home


def test_what_is_told_as_missing_is_forgotten_with_all_that_is_older() -> None:
    known = Prefixes()
    known.note(1, marks(10, of=100), "", 10)
    known.note(1, marks(10, of=200), "", 10)
    known.note(1, marks(10, of=300), "", 10)

    expected = known.note(1, marks(10, of=200), "", 10)
    known.correct(1, expected.last_used)

    found = [bool(known.predict(marks(10, of=of), "", 10).tokens) for of in (100, 200, 300)]
    assert found == [False, True, True]


def test_a_life_that_is_over_leaves_nothing() -> None:
    known = Prefixes()
    known.note(1, marks(10, 20), "", 25)
    known.note(2, marks(10), "", 25)

    known.forget(1)

    assert known.predict(marks(10, 20), "", 30).tokens == {2: 10}


def test_what_is_remembered_is_bounded() -> None:
    known = Prefixes()
    for number in range(MAX_KNOWN + 100):
        known.note(1, marks(1, of=number), f"session {number}", 10)

    assert len(known._held[1]) == len(known._holders) == MAX_KNOWN
    assert len(known._talks) == MAX_TALKS
