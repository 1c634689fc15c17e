"""Answers that can go on with another replica after the first was lost, and how."""

from array import array
from collections.abc import Sequence

import msgspec

from gateway.generation import Generation, Prompt

NOTHING = Prompt((), "")


class Resumption:
    """What it takes to go on with an answer: its request, the prompt as packed INT32.

    The continuation of a greedy answer is what it would have been: given the same tokens, the
    engine finds the same next ones. A sampled one is not, seeded or not: the engine's generator
    of chance begins with its call. Nor is one that a grammar guides or that penalties bend, whose
    state the engine counts from where its answer began, or one of several for a prompt.
    """

    __slots__ = ("_generation", "_prompt")

    def __init__(self, generation: Generation) -> None:
        self._prompt = array("i", generation.prompt.token_ids)
        self._generation = msgspec.structs.replace(generation, prompt=NOTHING)

    @classmethod
    def of(cls, generation: Generation) -> "Resumption | None":
        """Return what it takes, None for an answer that cannot go on elsewhere."""
        return cls(generation) if is_resumable(generation) else None

    def rest(self, token_ids: Sequence[int]) -> Generation:
        """Return the request for what is left of an answer that had so many tokens."""
        asked = self._generation
        prompt = Prompt((*self._prompt, *token_ids), "")
        return msgspec.structs.replace(
            asked,
            prompt=prompt,
            max_tokens=asked.max_tokens - len(token_ids),
            min_tokens=max(0, asked.min_tokens - len(token_ids)),
            num_prompt=-1,
        )


def is_resumable(generation: Generation) -> bool:
    """Tell whether an answer can go on as if nothing had happened."""
    sampling = generation.sampling
    is_bent = sampling.presence_penalty or sampling.frequency_penalty
    is_plain = not is_bent and sampling.repetition_penalty == 1.0 and not generation.bad_words
    is_one = generation.num_sequences == 1 and generation.guide is None
    return sampling.is_greedy and is_plain and is_one and generation.streaming
