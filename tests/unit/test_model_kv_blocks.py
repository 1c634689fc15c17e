"""Blocks of the KV cache are counted before a prompt is begun."""

import pytest
from backend.engines.openvino.kv_blocks import KvBlocks


@pytest.mark.parametrize(
    ("prompt_tokens", "most"), [(31, 10), (32, 5), (319, 1)], ids=["one", "two", "all"]
)
def test_as_many_generate_at_once_as_have_blocks_for_the_prompt_and_a_token(
    prompt_tokens: int, most: int
) -> None:
    assert KvBlocks(10).most_at_once(prompt_tokens) == most


def test_an_empty_cache_has_room_for_whatever_comes() -> None:
    assert KvBlocks(1).have_room(1000, 4)


def test_a_prompt_waits_for_those_before_it_to_give_back_what_it_needs() -> None:
    blocks = KvBlocks(10)
    blocks.add(1, 200)

    assert not blocks.have_room(100, 1)

    blocks.remove(1)
    assert blocks.have_room(100, 1)


def test_what_a_sequence_gained_counts() -> None:
    blocks = KvBlocks(10)
    blocks.add(1, 60)
    assert blocks.have_room(100, 1)

    blocks.grow(1, 160)

    assert not blocks.have_room(100, 1)


def test_what_others_gain_while_prompts_are_computed_counts() -> None:
    blocks = KvBlocks(48)
    for key in range(8):
        blocks.add(key, 27)
        blocks.grow(key, 1)

    assert blocks.have_room(192, 1)
    assert not blocks.have_room(192 * 6, 1)
