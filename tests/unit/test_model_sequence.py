"""What belongs to an answer, of the tokens an engine generates."""

import pytest
from backend.contract import Request
from backend.engine import Progress
from backend.sequence import Sequence

TOKENS = [5, 6, 7, 8, 9, 10]


def cut(**options: object) -> tuple[list[int], bool]:
    """The tokens kept, and whether the sequence ended there, pushed in twos and as a whole."""
    request = Request(**{"id": "", "input_ids": (1,), "max_tokens": 99, **options})  # type: ignore[arg-type]
    whole, halves = Sequence(request, 0), Sequence(request, 0)
    whole.push(Progress(1, TOKENS, []))
    for at in range(0, len(TOKENS), 2):
        halves.push(Progress(1, TOKENS[at : at + 2], []))
    assert (whole.ids, whole.is_finished) == (halves.ids, halves.is_finished)
    return whole.ids, whole.is_finished


@pytest.mark.parametrize(
    ("options", "kept", "is_finished"),
    [
        ({}, TOKENS, False),
        ({"max_tokens": 3}, [5, 6, 7], True),
        ({"end_id": 7}, [5, 6], True),
        ({"end_id": 5}, [], True),
        ({"stop_words": ((7,),)}, [5, 6, 7], True),
        ({"stop_words": ((9, 10), (7, 8))}, [5, 6, 7, 8], True),
        ({"stop_words": ((5, 7),)}, TOKENS, False),
        ({"stop_words": ((6, 7),), "min_tokens": 4}, TOKENS, False),
        ({"stop_words": ((6,), (9,)), "min_tokens": 3}, [5, 6, 7, 8, 9], True),
    ],
    ids=str,
)
def test_a_sequence_is_cut_at_its_end(
    options: dict[str, object], kept: list[int], is_finished: bool
) -> None:
    assert cut(**options) == (kept, is_finished)


def test_log_probs_are_cut_with_their_tokens() -> None:
    sequence = Sequence(Request(id="", input_ids=(1,), max_tokens=2), 0)
    tops = [((token, -0.1),) for token in (5, 6, 7)]

    kept = sequence.push(Progress(1, [5, 6, 7], [-0.1, -0.2, -0.3], tops=tops))

    assert (kept, sequence.log_probs, sequence.tops) == (2, [-0.1, -0.2], tops[:2])
