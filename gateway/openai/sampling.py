"""OpenAI's sampling parameters as a Sampling, with every default decided."""

import secrets
from typing import TypeVar

from gateway.engine import Feature
from gateway.generation import Sampling
from gateway.models import Model
from gateway.openai.schemas import GenerationRequest

UINT64_MASK = 2**64 - 1
Number = TypeVar("Number", int, float)


def parse_sampling(body: GenerationRequest, model: Model) -> Sampling:
    """Return how tokens are chosen. Raises UnsupportedParameter for what the engine cannot do.

    Temperature 0 is greedy, and so is top_p 0: its nucleus holds the likeliest token alone.
    """
    if body.min_p:
        model.require(Feature.MIN_P, "min_p")
    if body.repetition_penalty not in (None, 1.0):
        model.require(Feature.REPETITION_PENALTY, "repetition_penalty")
    defaults = model.defaults
    top_p = _or(body.top_p, defaults.top_p)
    return Sampling(
        temperature=_or(body.temperature, defaults.temperature) if top_p else 0.0,
        top_p=top_p or 1.0,
        top_k=max(0, _or(body.top_k, defaults.top_k)),
        min_p=body.min_p or 0.0,
        repetition_penalty=_or(body.repetition_penalty, defaults.repetition_penalty),
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        seed=parse_seed(body.seed),
    )


def parse_seed(seed: int | None) -> int:
    """Return the seed as UINT64; a request without one gets its own, or all answers were alike."""
    return secrets.randbits(64) if seed is None else seed & UINT64_MASK


def _or(value: Number | None, default: Number) -> Number:
    return default if value is None else value
