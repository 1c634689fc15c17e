"""Which sequences may stand within a block of the KV cache."""

import pytest
from backend.engines.openvino.prefill import Prefills


@pytest.fixture
def prefills() -> Prefills:
    """Two sequences that came one after the other."""
    prefills = Prefills()
    prefills.add(1)
    prefills.add(2)
    return prefills


def test_of_those_without_a_token_the_first_may_have_begun(prefills: Prefills) -> None:
    assert prefills.may_be_within_a_block(1)
    assert not prefills.may_be_within_a_block(2)


def test_behind_a_token_nothing_is_half_done_and_the_next_may_have_begun(
    prefills: Prefills,
) -> None:
    prefills.note(1, has_token=True)

    assert not prefills.may_be_within_a_block(1)
    assert prefills.may_be_within_a_block(2)


def test_a_step_without_a_token_changes_nothing_for_a_prompt(prefills: Prefills) -> None:
    prefills.note(1, has_token=False)
    prefills.note(2, has_token=False)

    assert prefills.may_be_within_a_block(1)
    assert not prefills.may_be_within_a_block(2)


def test_a_sequence_without_a_token_after_some_computes_its_prompt_again(
    prefills: Prefills,
) -> None:
    prefills.note(1, has_token=True)
    prefills.note(1, has_token=False)

    assert prefills.may_be_within_a_block(1)

    prefills.note(1, has_token=True)
    assert not prefills.may_be_within_a_block(1)


def test_after_one_is_removed_the_next_is_the_first(prefills: Prefills) -> None:
    prefills.remove(1)

    assert not prefills.may_be_within_a_block(1)
    assert prefills.may_be_within_a_block(2)
