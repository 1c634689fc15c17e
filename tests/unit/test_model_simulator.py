"""The simulator's script and its cost model."""

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from backend.contract import Refused, Request
from backend.engines.simulated.simulator import Clock, Simulator


class Hands:
    """A clock that moves only where somebody sleeps."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


def simulator(
    tmp_path: Path, *, max_num_seqs: int = 8, hands: Hands | None = None, **content: Any
) -> Simulator:
    """A simulator without a tokenizer, for scripts in ids."""
    path = tmp_path / "simulator.json"
    path.write_text(json.dumps(content))
    hands = hands or Hands()
    return Simulator.load(
        path,
        tokenizer=tmp_path / "absent",
        max_num_seqs=max_num_seqs,
        clock=Clock(lambda: hands.at_s, hands.sleep),
    )


def asking(*ids: int, max_tokens: int = 8, **options: Any) -> Request:
    return Request(id="", input_ids=ids, max_tokens=max_tokens, **options)


def first_tokens(engine: Simulator, request: Request, count: int, index: int = 0) -> list[int]:
    keys = range(index + 1)
    engine.start(keys, request)
    steps = itertools.chain.from_iterable(
        gained.ids for _ in range(count) for gained in engine.step() if gained.key == index
    )
    tokens = list(itertools.islice(steps, count))
    for key in keys:
        engine.stop(key)
    return tokens


def test_a_script_answers_and_ends(tmp_path: Path) -> None:
    engine = simulator(tmp_path, answers=[{"prompt": [1, 2], "answer": [5, 6]}])

    assert first_tokens(engine, asking(1, 2, end_id=9), 3) == [5, 6, 9]


def test_without_an_end_id_an_answer_ends_in_the_first_stop_word(tmp_path: Path) -> None:
    engine = simulator(tmp_path, answers=[{"prompt": [1, 2], "answer": [5, 6]}])

    assert first_tokens(engine, asking(1, 2, stop_words=((7, 8), (9,))), 4) == [5, 6, 7, 8]


def test_a_short_answer_is_stretched_to_min_tokens(tmp_path: Path) -> None:
    engine = simulator(tmp_path, answers=[{"prompt": [1, 2], "answer": [5]}])

    tokens = first_tokens(engine, asking(1, 2, end_id=9, min_tokens=4), 5)

    assert (tokens[0], tokens[4]) == (5, 9)
    assert 9 not in tokens[1:4]


def test_filler_depends_on_the_prompt_and_where_sampled_on_seed_and_index(tmp_path: Path) -> None:
    engine = simulator(tmp_path)
    sampled: dict[str, Any] = {"top_p": 0.9, "seed": 1}
    answers = [
        first_tokens(engine, asking(1, 2), 6),
        first_tokens(engine, asking(1, 3), 6),
        first_tokens(engine, asking(1, 2, **sampled), 6),
        first_tokens(engine, asking(1, 2, **{**sampled, "seed": 2}), 6),
        first_tokens(engine, asking(1, 2, **sampled), 6, index=1),
    ]

    assert len({tuple(answer) for answer in answers}) == 5
    assert first_tokens(engine, asking(1, 2, **sampled), 6) == answers[2]
    assert first_tokens(engine, asking(1, 2, seed=5), 6) == answers[0]


@pytest.mark.parametrize(
    "content",
    [
        {"answers": [{"prompt": [1], "answer": [5], "delats": [2]}]},
        {"answers": [{"prompt": [1], "answer": [5], "deltas": [0]}]},
        {"answers": [{"prompt": [1], "answer": [5], "deltas": []}]},
        {"cost": {"step": 1}},
    ],
    ids=["unknown key", "empty delta", "no delta", "unknown cost"],
)
def test_a_wrong_file_does_not_load(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        simulator(tmp_path, **content)


def test_sequences_and_their_tokens_must_fit(tmp_path: Path) -> None:
    engine = simulator(tmp_path, max_num_seqs=3, cost={"kv_capacity_tokens": 25})

    assert engine.has_room(asking(1, 2))
    engine.start([1], asking(1, 2))
    engine.start([2], asking(1, 2))
    assert not engine.has_room(asking(1, 2))
    assert engine.has_room(asking(1, 2, max_tokens=3))
    assert not engine.has_room(asking(1, max_tokens=1, num_return_sequences=2))
    engine.stop(1)
    assert engine.has_room(asking(1, 2))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (asking(1, max_tokens=25), "the 25 tokens of the KV cache"),
        (asking(1, max_tokens=1, num_return_sequences=4), "'num_return_sequences'"),
    ],
    ids=["tokens", "sequences"],
)
def test_what_can_never_fit_is_refused(tmp_path: Path, request_: Request, message: str) -> None:
    engine = simulator(tmp_path, max_num_seqs=3, cost={"kv_capacity_tokens": 25})

    with pytest.raises(Refused, match=message):
        engine.check({}, request_)


@pytest.mark.parametrize(
    ("cost", "sequences", "took_s"),
    [
        ({"step_s": 0.02}, 1, 0.08),
        ({"step_s_per_sequence": 0.01}, 3, 0.12),
        ({"prefill_tokens_per_s": 50}, 2, 0.16),
    ],
    ids=["step", "sequences", "prefill"],
)
def test_four_steps_take_what_the_cost_model_says(
    tmp_path: Path, cost: dict[str, float], sequences: int, took_s: float
) -> None:
    hands = Hands()
    engine = simulator(tmp_path, hands=hands, cost=cost)
    for key in range(sequences):
        engine.start([key], asking(1, 2, 3, 4))

    for _ in range(4):
        list(engine.step())

    assert hands.at_s == pytest.approx(took_s)


def test_sending_late_does_not_slow_the_pace(tmp_path: Path) -> None:
    hands = Hands()
    engine = simulator(tmp_path, hands=hands, cost={"step_s": 0.03})
    engine.start([1], asking(1))

    for _ in range(4):
        list(engine.step())
        hands.sleep(0.015)

    assert hands.at_s == pytest.approx(4 * 0.03 + 0.015)


def test_what_follows_greedily_follows_from_all_tokens_before_it(tmp_path: Path) -> None:
    engine = simulator(tmp_path)
    answer = first_tokens(engine, asking(1, 2), 8)

    rest = first_tokens(engine, asking(1, 2, *answer[:5]), 3)

    assert answer[:5] + rest == answer


@pytest.mark.parametrize(
    ("first", "second", "blocks"),
    [
        (range(100), range(100), 3),
        (range(64), range(64), 1),
        (range(100), [*range(50), *range(900, 950)], 1),
        (range(100), range(1, 101), 0),
        (range(1000), range(1000), 10),
    ],
    ids=["whole blocks", "not the last token", "up to a difference", "from the start", "ends go"],
)
def test_prompts_that_are_remembered_are_not_computed_again(
    tmp_path: Path, first: list[int], second: list[int], blocks: int
) -> None:
    hands = Hands()
    cost = {"prefill_tokens_per_s": 100, "prefix_cache_tokens": 320}
    engine = simulator(tmp_path, hands=hands, cost=cost)
    engine.start([1], asking(*first))
    list(engine.step())
    engine.stop(1)
    before_s = hands.at_s

    engine.start([2], asking(*second))
    [progress] = engine.step()

    assert progress.reused_blocks == blocks
    assert hands.at_s - before_s == pytest.approx((len(second) - 32 * blocks) / 100)
