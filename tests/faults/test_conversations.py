"""Forty conversations of six turns: what of their prompts engines reuse under each policy."""

import asyncio
import os
import random

import pytest

from tests.conftest import Figure
from tests.faults.fleet import POLICIES, Fleet
from tests.faults.load import Answer, Ask, chat, percentile

NUM_CONVERSATIONS = 40
NUM_TURNS = 6
WORDS = ["river", "stone", "lantern", "orchard", "winter", "harbour", "copper", "thunder"]


async def conversation(fleet: Fleet, policy: str, number: int) -> list[Answer]:
    """Return the answers of a conversation, each of which is part of the next prompt."""
    draw, answers = random.Random(f"{policy} {number}"), []
    messages = [f"You are a careful assistant of the {policy} desk. Answer in one line."]
    for _ in range(NUM_TURNS):
        messages.append(" ".join(draw.choices(WORDS, k=100)))
        answer = await Ask(fleet.port, chat(policy, *messages, max_tokens=6)).run()
        messages.append(answer.text)
        answers.append(answer)
    return answers


async def test_prefixes_are_found_where_they_are_sent(fleet: Fleet, figure: Figure) -> None:
    reuse, late = {}, {}
    for policy in POLICIES:
        talks = [conversation(fleet, policy, number) for number in range(NUM_CONVERSATIONS)]
        answers = [each for talk in await asyncio.gather(*talks) for each in talk]
        assert all(answer.is_whole for answer in answers)
        prompts = sum(answer.prompt_tokens for answer in answers)
        reuse[policy] = sum(answer.cached_tokens for answer in answers) / prompts
        late[policy] = percentile([answer.first_s or 0.0 for answer in answers], 0.99)
        figure(
            f"{policy}: {reuse[policy]:.0%} of {prompts} prompt tokens reused, first token "
            f"{late[policy]:.2f} s at p99"
        )

    assert reuse["prefix"] >= 2 * reuse["round_robin"]
    if "FAULTS_LONG" in os.environ:  # comparing times needs a machine of one's own
        assert late["prefix"] <= 1.1 * late["least_work"]


@pytest.fixture(autouse=True)
def has_all(fleet: Fleet) -> None:
    """Wait until all members serve."""
    fleet.wait_serving()
