"""Stop strings: the same cut for every split, and no more held back than must be."""

from collections.abc import Callable
from random import Random

import pytest

from gateway.output.stops import StopMatcher
from tests.seeds import seeds
from tests.steps import growth
from tests.unit.splitting import pieces


def drawn(seed: int) -> tuple[str, list[str]]:
    """A text and up to four stops over three letters, so that they meet often."""
    chance = Random(seed)
    text = "".join(chance.choices("ab\n", k=chance.randrange(24)))
    stops = ["".join(chance.choices("ab\n", k=chance.randint(1, 5))) for _ in range(4)]
    return text, stops[: chance.randint(1, 4)]


def emitted(text: str, stops: list[str], include: bool, seed: int) -> tuple[str, bool]:
    matcher = StopMatcher(stops, include)
    out = "".join(matcher.push(piece) for piece in pieces(text, seed))
    return out + matcher.flush(), matcher.stopped


def cut(text: str, stops: list[str], include: bool) -> tuple[str, bool]:
    """The definition: the first end of any stop, the longest of those that end there."""
    for end in range(1, len(text) + 1):
        lengths = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if lengths:
            return text[: end if include else end - max(lengths)], True
    return text, False


@pytest.mark.parametrize("include", [True, False], ids=["included", "left out"])
@seeds(5_000)
def test_every_split_is_cut_where_the_definition_says(seed: int, include: bool) -> None:
    text, stops = drawn(seed)

    assert emitted(text, stops, include, seed) == cut(text, stops, include)


@seeds(10_000)
def test_only_text_that_may_still_become_a_stop_is_held_back(seed: int) -> None:
    text, stops = drawn(seed)
    matcher = StopMatcher(stops)

    out = matcher.push(text)

    beginnings = {stop[:n] for stop in stops for n in range(len(stop))}
    held = max((b for b in beginnings if text.endswith(b)), key=len)
    assert matcher.stopped or out == text[: len(text) - len(held)]


@pytest.mark.parametrize(
    ("deltas", "stops", "expected"),
    [
        pytest.param(["one\n", "\ntwo"], ["\n\n"], ["one", ""], id="across-deltas"),
        pytest.param(["a<", "b>"], ["<|end|>"], ["a", "<b>"], id="held-then-released"),
        pytest.param(["abcd"], ["abcd", "bc"], ["a"], id="first-to-be-complete-wins"),
        pytest.param(["xab"], ["b", "ab"], ["x"], id="longest-of-those-that-end-together"),
        pytest.param(["aab"], ["ab"], ["a"], id="restart-inside-a-prefix"),
        pytest.param(["a😀", "b"], ["😀b"], ["a", ""], id="beyond-the-basic-plane"),
        pytest.param(["a.b", "c"], ["."], ["a", ""], id="nothing-after-a-stop"),
        pytest.param(["[^-]", "c"], ["]", "^", "-"], ["[", ""], id="letters-a-regex-would-read"),
        pytest.param(["ab"], [""], ["ab"], id="an-empty-stop-never-matches"),
    ],
)
def test_a_stop_is_cut(deltas: list[str], stops: list[str], expected: list[str]) -> None:
    matcher = StopMatcher(stops)

    assert [matcher.push(delta) for delta in deltas] == expected


def test_an_included_stop_is_emitted_and_nothing_after_it() -> None:
    matcher = StopMatcher(["END"], include=True)

    assert [matcher.push(delta) for delta in ("text E", "ND more", "x")] == ["text ", "END", ""]
    assert matcher.flush() == ""


@pytest.mark.parametrize("unit", ["a" * 9 + "b", "ordinary t"], ids=["near-misses", "prose"])
def test_cost_is_linear_in_the_length_of_the_text(unit: str) -> None:
    def reading(size: int) -> Callable[[], object]:
        matcher = StopMatcher(["a" * 50 + "c", "aab\n", "END"])
        deltas = [unit[:4], unit[4:8], unit[8:]] * (size // 10)
        return lambda: [matcher.push(delta) for delta in deltas]

    assert growth(reading, 10_000, 100_000) < 10.5
