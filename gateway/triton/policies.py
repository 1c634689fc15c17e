"""Which of several replicas takes a call. Pure, and deterministic given what is known of them.

Costs a few microseconds for 64 replicas: each is looked at once, and its work is known.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Literal

from gateway.triton.work import Load, Work

PolicyName = Literal["least_work", "round_robin", "prefix"]
Policy = Callable[[Sequence[Load], Work, Mapping[int, int]], Load]
"""Picks one of some loads for a call, given the tokens of its prompt that each has, by life."""

LEAST_SHARE = 0.4
"""Of a prompt, which a replica holds to be preferred for it."""
MAX_IMBALANCE = 3.0
"""How many times the work of the least loaded, the call's own included, a known prefix is worth."""


def round_robin(loads: Sequence[Load], work: Work, reuse: Mapping[int, int]) -> Load:
    """Return the one that was chosen least lately."""
    return min(loads, key=_TURN)


def least_work(loads: Sequence[Load], work: Work, reuse: Mapping[int, int]) -> Load:
    """Return the one that would have answered first: work ahead, less what it need not read."""
    least = min(loads, key=_AHEAD)
    if not reuse:
        return least
    holders = [load for load in loads if load.life in reuse]
    return min([least, *holders], key=lambda load: _ahead_of(load, reuse))


def prefix(loads: Sequence[Load], work: Work, reuse: Mapping[int, int]) -> Load:
    """Return the one that holds most of the prompt, unless it has far more work than the least.

    What holds little of it, such as a system prompt that many share, is none to hold to; nor is
    one that drops what it holds, having too many conversations.
    """
    least = min(loads, key=_AHEAD)
    if not reuse:
        return least
    own_s = least.seconds(work.prompt_tokens, min(work.max_tokens, _TYPICAL_TOKENS))
    bound_s = MAX_IMBALANCE * (least.ahead_s + own_s) - own_s
    enough = LEAST_SHARE * work.prompt_tokens
    held = [
        load
        for load in loads
        if reuse.get(load.life, 0) * load.trust >= enough and _ahead_of(load, reuse) <= bound_s
    ]
    if not held:
        return least_work(loads, work, reuse)
    return max(held, key=lambda load: _worth(load, reuse))


POLICIES: Mapping[PolicyName, Policy] = {
    "least_work": least_work,
    "round_robin": round_robin,
    "prefix": prefix,
}

_TYPICAL_TOKENS = 128
_TURN, _AHEAD = attrgetter("turn"), attrgetter("ahead_s")


def _worth(load: Load, reuse: Mapping[int, int]) -> tuple[float, float]:
    return reuse[load.life] * load.trust, -load.ahead_s


def _ahead_of(load: Load, reuse: Mapping[int, int]) -> float:
    saved_s = reuse.get(load.life, 0) * load.trust / load.prefill_tokens_per_s
    return load.ahead_s - saved_s
