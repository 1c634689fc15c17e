import re
from random import Random

import pytest

from gateway.prompt.words import longest_of


@pytest.mark.parametrize(
    ("words", "text", "found"),
    [
        (["<|a|>", "<|ab|>"], "x<|ab|><|a|><|c|>", ["<|ab|>", "<|a|>"]),
        (["a", "ab", "abc"], "abcabxa", ["abc", "ab", "a"]),
        (["a.b", "a"], "a.b axb", ["a.b", "a"]),
        ([], "anything", []),
    ],
    ids=["tokens", "beginnings of one another", "characters of patterns", "no words"],
)
def test_the_longest_word_at_each_place_is_found(
    words: list[str], text: str, found: list[str]
) -> None:
    assert re.findall(longest_of(words), text) == found


def test_words_are_found_as_an_alternation_of_the_longest_first_finds_them() -> None:
    chance = Random(3)
    for _ in range(200):
        words = {"".join(chance.choices("ab<|", k=chance.randint(1, 4))) for _ in range(6)}
        text = "".join(chance.choices("ab<|", k=60))
        plain = "|".join(map(re.escape, sorted(words, key=lambda word: -len(word))))

        assert re.findall(longest_of(words), text) == re.findall(plain, text)
