"""Which replica takes a call, given what is known of each. Everything here is plain data."""

import pytest

from gateway.triton.policies import MAX_IMBALANCE, POLICIES, PolicyName
from gateway.triton.prefixes import NOTHING_KNOWN, SLACK_TOKENS, Known
from gateway.triton.work import FIRST_DECODE_PER_S, KvCache, Lengths, Load, Work

CHAT = Work(prompt_tokens=1000, max_tokens=100)


def loads(*ahead: tuple[int, int]) -> list[Load]:
    """Return loads with so many tokens to read and to write, lives counted from 1."""
    made = [Load(life=number) for number in range(1, len(ahead) + 1)]
    for load, (prompt_tokens, output_tokens) in zip(made, ahead, strict=True):
        load.add(prompt_tokens, output_tokens, calls=1)
    return made


def picked(
    policy: PolicyName, given: list[Load], reuse: dict[int, int] | None = None, home: int = 0
) -> int:
    """Return the life of the load that is picked for a chat."""
    return POLICIES[policy](given, CHAT, Known(reuse or {}, home)).life


def test_turns_are_taken_in_order() -> None:
    given = loads((0, 0), (0, 0), (0, 0))
    order = []
    for turn in range(1, 7):
        load = POLICIES["round_robin"](given, CHAT, NOTHING_KNOWN)
        load.take_turn(turn)
        order.append(load.life)

    assert order == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        ([(5000, 0), (0, 0), (5000, 0)], 2),
        ([(0, 500), (0, 400), (0, 600)], 2),
        ([(20_000, 0), (0, 50), (0, 200)], 2),
        ([(1000, 100), (1000, 100), (1000, 100)], 1),
    ],
    ids=["prompts", "answers", "both in seconds", "alike"],
)
def test_least_work_is_counted_in_seconds_of_prompts_and_answers(
    ahead: list[tuple[int, int]], expected: int
) -> None:
    assert picked("least_work", loads(*ahead)) == expected


def test_of_those_alike_the_one_that_waited_longest_is_taken() -> None:
    given = loads((0, 0), (0, 0))
    given[0].take_turn(1)

    assert picked("least_work", given) == 2


def test_a_replica_whose_cache_fills_up_is_left_alone_before_it_is_full() -> None:
    given = loads((0, 10), (0, 0))
    given[1].kv = KvCache(max_blocks=100, used_blocks=95, tokens_per_block=32)
    given[1].weigh()

    assert picked("least_work", given) == 1


def test_a_replica_that_is_slower_has_more_work_ahead_of_the_same_tokens() -> None:
    given = loads((0, 100), (0, 100))
    for _ in range(20):
        given[0].note_pace(num_tokens=int(FIRST_DECODE_PER_S / 2), num_streams=1, elapsed_s=1)

    assert picked("least_work", given) == 2


def test_prompts_that_need_not_be_read_count_as_less_work() -> None:
    given = loads((1000, 0), (500, 0))

    assert picked("least_work", given, {1: 900}) == 1
    assert picked("least_work", given, {1: 400}) == 2


def test_a_conversation_is_worth_a_wait_but_not_any() -> None:
    given = loads((1000, 100), (0, 0))
    assert picked("prefix", given, {1: 1000}, home=1) == 1

    bound = MAX_IMBALANCE * given[1].seconds(1000, 100)
    while given[0].ahead_s + given[1].seconds(0, 100) <= bound:
        given[0].add(1000, 0)

    assert picked("prefix", given, {1: 1000}, home=1) == 2


@pytest.mark.parametrize(
    ("reuse", "home", "expected"),
    [
        ({1: 900, 2: 900}, 2, 2),
        ({1: 900}, 0, 3),
        ({3: 10}, 1, 3),
        ({9: 600}, 9, 3),
        ({2: 1001}, 0, 2),
    ],
    ids=["its own", "shared", "forgotten there", "gone", "shared, and worth the wait"],
)
def test_conversations_stay_where_they_are_and_what_many_share_is_weighed(
    reuse: dict[int, int], home: int, expected: int
) -> None:
    given = loads((1000, 100), (1000, 0), (0, 0))

    assert picked("prefix", given, reuse, home) == expected


def test_a_share_of_less_than_blocks_can_tell_says_nothing_of_predictions() -> None:
    load = Load()

    load.note_reuse(predicted_tokens=SLACK_TOKENS, told_tokens=0)
    load.note_reuse(predicted_tokens=1000, told_tokens=1000 - SLACK_TOKENS)

    assert load.trust == 1


def test_predictions_that_never_come_true_count_for_nothing() -> None:
    given = loads((0, 0), (100, 0))
    assert picked("least_work", given, {2: 1000}) == 2

    for _ in range(40):
        given[1].note_reuse(predicted_tokens=1000, told_tokens=0)

    assert given[1].trust < 0.01
    assert picked("least_work", given, {2: 1000}) == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_is_picked_whenever_the_same_is_known(policy: PolicyName) -> None:
    ahead = [(number * 37 % 11 * 100, number * 53 % 7 * 10) for number in range(64)]
    reuse = {number: number * 31 % 900 for number in range(1, 64, 5)}

    assert len({picked(policy, loads(*ahead), reuse) for _ in range(5)}) == 1


def test_an_answer_is_expected_to_be_as_long_as_others_were_or_may_be() -> None:
    lengths = Lengths(mean=100)
    for _ in range(400):
        lengths.note(20)

    assert lengths.expected(4096) == pytest.approx(20, rel=0.01)
    assert lengths.expected(5) == 5


def test_work_that_is_given_back_leaves_nothing_behind() -> None:
    load = Load()
    load.add(100, 50.0, calls=1)
    load.add(-100, -50.0, calls=-1)

    assert (load.num_calls, load.waiting_prompt_tokens, load.ahead_s) == (0, 0, 0)
