"""A test of many seeds fails where one of them does, and says which."""

import re

import pytest

from tests.seeds import seeds


def test_a_failure_tells_its_seed_and_every_seed_is_tried() -> None:
    tried: list[int] = []

    @seeds(50)
    def odd(seed: int, least: int) -> None:
        tried.append(seed)
        assert len(tried) < least

    odd(least=51)
    with pytest.raises(AssertionError, match="with the seed") as failed:
        odd(least=60)

    assert len(tried) == 60
    assert re.findall(r"\d+", str(failed.value)) == [str(tried[-1])]
