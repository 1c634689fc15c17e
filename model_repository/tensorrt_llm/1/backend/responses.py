"""Deltas into the response tensors of TensorRT-LLM 1.2. Knows no Triton API."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.contract import Request
from backend.engine import PromptLogProbs, Tops


@dataclass
class PerfMetrics:
    """When things happened to a request, in nanoseconds of the monotonic clock, 0 for not yet;
    and how many blocks of the KV cache it reused, -1 where that is not known."""

    arrival_time_ns: int = 0
    first_scheduled_time_ns: int = 0
    first_token_time_ns: int = 0
    last_token_time_ns: int = 0
    kv_cache_reused_blocks: int = -1


@dataclass(frozen=True)
class Delta:
    """Tokens that sequence `index` gained; the last of a sequence carries the metrics.

    `log_probs` are those of all its tokens so far, if asked for: TensorRT-LLM streams tokens as
    they come, but log probabilities as a list that grows (model_instance_state.cc of v0.19.0,
    lines 1176-1195, over what trtGptModelInflightBatching.cpp sets at each step). `tops` are those
    of `ids`; the first delta of a request carries what was asked of the prompt.
    """

    request: Request
    index: int
    ids: list[int]
    log_probs: list[float]
    perf_metrics: PerfMetrics | None = None
    tops: Sequence[Tops] = ()
    prompt: PromptLogProbs | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the token ids say it all, so that equal ids make equal tensors."""
        asked = self.request
        return not (
            (asked.return_log_probs or asked.return_perf_metrics)
            or (asked.return_num_input_tokens or asked.return_num_output_tokens)
            or (asked.num_top_log_probs or asked.num_return_sequences > 1)
            or self.prompt is not None
            or not (asked.streaming or asked.exclude_input)
        )

    @classmethod
    def joined(cls, deltas: Sequence["Delta"]) -> "Delta":
        """Deltas of one sequence that follow each other, as one."""
        last = deltas[-1]
        if len(deltas) == 1:
            return last
        return cls(
            last.request,
            last.index,
            [token for delta in deltas for token in delta.ids],
            last.log_probs,
            last.perf_metrics,
            [top for delta in deltas for top in delta.tops],
            next((delta.prompt for delta in deltas if delta.prompt), None),
        )


def tensors(delta: Delta) -> dict[str, NDArray[Any]]:
    """Response tensors by name, each with a leading batch of 1 (and one beam where declared)."""
    request = delta.request
    is_echoed = not (request.streaming or request.exclude_input)
    output = [*request.input_ids, *delta.ids] if is_echoed else delta.ids
    named: dict[str, NDArray[Any]] = {
        "output_ids": np.array([[output]], np.int32),
        "sequence_length": _one(len(output)),
    }
    if request.return_log_probs:
        named["output_log_probs"] = np.array([[delta.log_probs]], np.float32)
        named["cum_log_probs"] = np.array([[sum(delta.log_probs)]], np.float32)
    if request.num_top_log_probs:
        named |= _top_tensors("top_log_prob", delta.tops, request.num_top_log_probs)
    if delta.prompt is not None:
        named |= _prompt_tensors(delta.prompt, request.num_prompt_log_probs)
    if request.num_return_sequences > 1:
        named["sequence_index"] = _one(delta.index)
    if request.return_num_input_tokens:
        named["num_input_tokens"] = _one(len(request.input_ids))
    if request.return_num_output_tokens:
        named["num_output_tokens"] = _one(len(delta.ids))
    if request.return_perf_metrics and delta.perf_metrics is not None:
        named |= _perf_tensors(delta.perf_metrics)
    return named


def _top_tensors(name: str, tops: Sequence[Tops], width: int) -> dict[str, NDArray[Any]]:
    """Tokens and logs [1, T, width] of the likeliest at each place; -1 where there are fewer."""
    ids = np.full((1, len(tops), width), -1, np.int32)
    log_probs = np.full((1, len(tops), width), -np.inf, np.float32)
    for at, top in enumerate(tops):
        for rank, (token, log_prob) in enumerate(top[:width]):
            ids[0, at, rank], log_probs[0, at, rank] = token, log_prob
    return {f"{name}_ids": ids, f"{name}s": log_probs}


def _prompt_tensors(prompt: PromptLogProbs, width: int) -> dict[str, NDArray[Any]]:
    named: dict[str, NDArray[Any]] = {
        "prompt_log_probs": np.array([prompt.log_probs], np.float32),
    }
    return named | (_top_tensors("prompt_top_log_prob", prompt.tops, width) if width > 0 else {})


def _perf_tensors(metrics: PerfMetrics) -> dict[str, NDArray[Any]]:
    values = dict(vars(metrics))
    reused_blocks = values.pop("kv_cache_reused_blocks")
    named: dict[str, NDArray[Any]] = {
        name: np.array([[time_ns]], np.int64) for name, time_ns in values.items()
    }
    if reused_blocks >= 0:
        named["kv_cache_reused_blocks"] = _one(reused_blocks)
    return named


def _one(value: int) -> NDArray[np.int32]:
    return np.array([[value]], np.int32)
