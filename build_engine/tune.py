"""Limits for an engine from a trace of requests. Reads no files, draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from build_engine.plan import make_plan
from build_engine.spec import EngineSpec
from build_engine.trace import Request, concurrency, quantile

_LENGTH_STEP, _TOKEN_STEP = 64, 1024
_LEAST_NUM_TOKENS, _MOST_NUM_TOKENS = 2048, 16384
_PATIENCE = 20
# NVIDIA's benchmarks (Llama 3.1 8B in FP8 on an H100, 0.15) are 1.6 to 1.9 times below the bound.
_PACE_BY_BOUND = 2


@dataclass(frozen=True)
class Tuning:
    """Recommended limits, the spec with them, and how many of the requests are within them."""

    spec: EngineSpec
    covered: float
    peak: int
    reasons: dict[str, str]


def tune(spec: EngineSpec, requests: Sequence[Request], share: float) -> Tuning:
    """Return a spec whose limits let a share of the requests pass, on the spec's own GPU.

    max_seq_len and max_input_len follow the lengths. max_batch_size is what runs at once, counted
    with twice the time per token that memory bandwidth gives that batch, as far as the KV cache
    carries usual requests. max_num_tokens lets all of a batch decode beside two usual prompts.
    Raises SpecError where the model's limits are passed.
    """
    totals = [request.total_tokens for request in requests]
    prompts = [request.prompt_tokens for request in requests]
    seq_len = min(_round_up(quantile(totals, share) + 1, _LENGTH_STEP), spec.shape.max_positions)
    input_len = min(_round_up(quantile(prompts, share), _LENGTH_STEP), seq_len - 1)
    limits = spec.limits.model_dump() | {"max_seq_len": seq_len, "max_input_len": input_len}
    usual = quantile(prompts, 0.5)
    sized, peak, carried = _sized(spec, limits, requests, usual)
    covered = sum(
        request.total_tokens <= seq_len and request.prompt_tokens <= input_len
        for request in requests
    )
    reasons = _reasons(share, usual) | {"max_batch_size": _batch(sized, peak, carried)}
    return Tuning(sized, covered / len(requests), peak, reasons)


def _sized(
    spec: EngineSpec, limits: dict[str, int], requests: Sequence[Request], usual: int
) -> tuple[EngineSpec, int, int]:
    """Grow the batch until as many fit as run at once at the pace of that batch; return the spec,
    how many run at once, and how many usual requests the KV cache carries."""
    answer = max(1, quantile([request.completion_tokens for request in requests], 0.5))
    batch, peak, carried = 1, 1, 1
    for _ in range(_PATIENCE):
        tokens = min(
            max(_round_up(batch + usual * 2, _TOKEN_STEP), _LEAST_NUM_TOKENS), _MOST_NUM_TOKENS
        )
        wanted = limits | {"max_batch_size": batch, "max_num_tokens": max(tokens, batch)}
        sized = spec.replaced(limits=wanted)
        plan = make_plan(sized, None, min(usual, wanted["max_input_len"]), 1)
        carried = max(1, plan.memory.kv_tokens // (usual + answer))
        pace = _PACE_BY_BOUND * batch / plan.decode_bound(batch)
        peak = max(concurrency(requests, pace))
        larger = min(_round_up(peak, 8) if peak > 8 else peak, carried)
        if larger <= batch:
            break
        batch = larger
    return sized, peak, carried


def _batch(spec: EngineSpec, peak: int, carried: int) -> str:
    least = f"{peak} run at once"
    if carried < peak:
        return f"{least}, but the KV cache of {spec.gpu} carries {carried} usual requests"
    return f"{least}; the KV cache of {spec.gpu} would carry {carried} usual requests"


def _reasons(share: float, usual: int) -> dict[str, str]:
    percent = f"{share:.1%} of the requests"
    return {
        "max_input_len": f"prompts of {percent}",
        "max_seq_len": f"prompts and answers of {percent}",
        "max_num_tokens": f"a batch that decodes, beside prompts of {usual} tokens (the median)",
    }


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
