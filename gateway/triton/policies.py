"""Which of several replicas takes a call. Pure, and deterministic given what is known of them.

Costs a few microseconds for 64 replicas: each is looked at once, and its work is known.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Literal

from gateway.triton.prefixes import Known
from gateway.triton.work import Load, Work

PolicyName = Literal["least_work", "round_robin", "prefix"]
Policy = Callable[[Sequence[Load], Work, Known], Load]
"""Picks one of some loads for a call, given what is known of its prompt."""

MAX_IMBALANCE = 4.0
"""How many times the work of the least loaded, the call's own included, a conversation is worth."""


def round_robin(loads: Sequence[Load], work: Work, known: Known) -> Load:
    """Return the one that was chosen least lately."""
    return min(loads, key=_TURN)


def least_work(loads: Sequence[Load], work: Work, known: Known) -> Load:
    """Return the one that would have answered first: work ahead, less what it need not read."""
    least, reuse = min(loads, key=_AHEAD), known.tokens
    if not reuse:
        return least
    holders = [load for load in loads if load.life in reuse]
    return min([least, *holders], key=lambda load: _ahead_of(load, reuse))


def prefix(loads: Sequence[Load], work: Work, known: Known) -> Load:
    """Return the one that has the conversation, unless it has far more work than the least.

    A prefix that many share, such as a system prompt, is no conversation: were it one to hold to,
    all would go where it was sent first. Of such the reuse is weighed against the work.
    """
    if known.home in known.tokens:
        home = next((load for load in loads if load.life == known.home), None)
        if home and _ahead_of(home, known.tokens) <= _bound_s(min(loads, key=_AHEAD), work):
            return home
    return least_work(loads, work, known)


POLICIES: Mapping[PolicyName, Policy] = {
    "least_work": least_work,
    "round_robin": round_robin,
    "prefix": prefix,
}

_TYPICAL_TOKENS = 128
_TURN, _AHEAD = attrgetter("turn"), attrgetter("ahead_s")


def _bound_s(least: Load, work: Work) -> float:
    own_s = least.seconds(work.prompt_tokens, min(work.max_tokens, _TYPICAL_TOKENS))
    return MAX_IMBALANCE * (least.ahead_s + own_s) - own_s


def _ahead_of(load: Load, reuse: Mapping[int, int]) -> float:
    saved_s = reuse.get(load.life, 0) * load.trust / load.prefill_tokens_per_s
    return load.ahead_s - saved_s
