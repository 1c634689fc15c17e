"""Deltas become the response tensors of TensorRT-LLM."""

from typing import Any

import numpy as np
import pytest
from backend.contract import Request
from backend.engine import PromptLogProbs
from backend.responses import Delta, PerfMetrics, tensors

METRICS = PerfMetrics(1, 2, 3, 4, kv_cache_reused_blocks=5)


def delta(*ids: int, **options: Any) -> Delta:
    request = Request(**{"id": "", "input_ids": (8, 9), "max_tokens": 4, **options})
    return Delta(request, 1, list(ids), [-0.5, -2.0], METRICS)


def listed(delta: Delta) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in tensors(delta).items()}


def test_a_delta_has_ids_and_their_number() -> None:
    assert listed(delta(5, 6, streaming=True)) == {
        "output_ids": [[[5, 6]]],
        "sequence_length": [[2]],
    }


def test_an_empty_delta_keeps_its_shape() -> None:
    assert tensors(delta(streaming=True))["output_ids"].shape == (1, 1, 0)


EXTRAS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "log probs": (
        {"return_log_probs": True},
        {"output_log_probs": [[[-0.5, -2.0]]], "cum_log_probs": [[-2.5]]},
    ),
    "sequences": ({"num_return_sequences": 2}, {"sequence_index": [[1]]}),
    "input count": ({"return_num_input_tokens": True}, {"num_input_tokens": [[2]]}),
    "output count": ({"return_num_output_tokens": True}, {"num_output_tokens": [[1]]}),
    "metrics": (
        {"return_perf_metrics": True},
        {
            "arrival_time_ns": [[1]],
            "first_scheduled_time_ns": [[2]],
            "first_token_time_ns": [[3]],
            "last_token_time_ns": [[4]],
            "kv_cache_reused_blocks": [[5]],
        },
    ),
    "echo": ({"streaming": False}, {"output_ids": [[[8, 9, 5]]], "sequence_length": [[3]]}),
}


@pytest.mark.parametrize(("asked", "extra"), EXTRAS.values(), ids=EXTRAS)
def test_what_was_asked_for_comes_with_it_and_makes_it_more_than_plain(
    asked: dict[str, Any], extra: dict[str, Any]
) -> None:
    plain = {"output_ids": [[[5]]], "sequence_length": [[1]]}

    extended = delta(5, **{"streaming": True, **asked})

    assert listed(extended) == plain | extra
    assert not extended.is_plain
    assert delta(5, streaming=True).is_plain


def test_tensors_have_the_types_of_the_contract() -> None:
    asked = {"return_log_probs": True, "return_perf_metrics": True, "streaming": True}

    types = {name: tensor.dtype for name, tensor in tensors(delta(5, **asked)).items()}

    assert types == {
        **dict.fromkeys(["output_ids", "sequence_length", "kv_cache_reused_blocks"], np.int32),
        **dict.fromkeys(["output_log_probs", "cum_log_probs"], np.float32),
        **dict.fromkeys(
            [name for name in vars(METRICS) if name.endswith("_time_ns")],
            np.int64,
        ),
    }


def test_the_likeliest_come_with_their_tokens_and_those_of_the_prompt_once() -> None:
    tops = [((5, -0.5), (7, -1.0)), ((6, -2.0),)]
    prompt = PromptLogProbs([-0.25], [((9, -0.25), (4, -1.5))])
    request = Request("", (8, 9), 4, num_top_log_probs=2, num_prompt_log_probs=1, streaming=True)

    first = Delta(request, 0, [5, 6], [], None, tops, prompt)

    assert listed(first) == {
        "output_ids": [[[5, 6]]],
        "sequence_length": [[2]],
        "top_log_prob_ids": [[[5, 7], [6, -1]]],
        "top_log_probs": [[[-0.5, -1.0], [-2.0, -np.inf]]],
        "prompt_log_probs": [[-0.25]],
        "prompt_top_log_prob_ids": [[[9]]],
        "prompt_top_log_probs": [[[-0.25]]],
    }
    assert not first.is_plain
