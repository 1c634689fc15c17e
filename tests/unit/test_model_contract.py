"""Request tensors become a request, or an error that names the tensor."""

from typing import Any

import numpy as np
import pytest
from backend.contract import (
    Guide,
    Limits,
    Lora,
    Refused,
    Request,
    UnsupportedTensor,
    is_stop,
    parse,
    words,
)
from numpy.typing import NDArray

LIMITS = Limits(max_seq_len=32)


def given(**changes: Any) -> dict[str, NDArray[Any]]:
    """Tensors of a small request as the Python backend hands them over."""
    tensors = {
        "input_ids": np.array([[5, 6, 7]], np.int32),
        "input_lengths": np.array([3], np.int32),
        "request_output_len": np.array([4], np.int32),
    }
    return tensors | {name: np.array(value) for name, value in changes.items()}


def text(value: bytes) -> NDArray[np.object_]:
    return np.array([[value]], np.object_)


def test_a_small_request_takes_every_default() -> None:
    assert parse("a", given(), LIMITS) == Request(id="a", input_ids=(5, 6, 7), max_tokens=4)


def test_every_tensor_has_its_field() -> None:
    tensors = given(
        end_id=[2],
        stop_words_list=[[[9, 7, 8], [1, 3, -1]]],
        num_return_sequences=[2],
        temperature=[0.5],
        runtime_top_k=[40],
        runtime_top_p=[0.25],
        repetition_penalty=[1.5],
        presence_penalty=[0.125],
        frequency_penalty=[-0.5],
        min_tokens=[3],
        seed=np.array([2**63], np.uint64),
        streaming=[True],
        exclude_input_in_output=[True],
        return_log_probs=[True],
        return_perf_metrics=[True],
        return_num_input_tokens=[True],
        return_num_output_tokens=[True],
        guided_decoding_guide_type=text(b"regex"),
        guided_decoding_guide=text(b"[0-9]"),
        beam_width=[2],
        bad_words_list=[[[3, 4], [2, -1]]],
        lora_task_id=np.array([7], np.uint64),
        lora_path=text(b"/adapters/seven"),
        num_top_log_probs=[5],
        num_prompt_log_probs=[0],
    )

    assert parse("a", tensors, Limits(max_seq_len=32, has_adapters=True)) == Request(
        id="a",
        input_ids=(5, 6, 7),
        max_tokens=4,
        end_id=2,
        stop_words=((9,), (7, 8)),
        num_return_sequences=2,
        temperature=0.5,
        top_k=40,
        top_p=0.25,
        repetition_penalty=1.5,
        presence_penalty=0.125,
        frequency_penalty=-0.5,
        min_tokens=3,
        seed=2**63,
        guide=Guide("regex", "[0-9]"),
        beam_width=2,
        bad_words=((3, 4),),
        lora=Lora(7, "/adapters/seven"),
        num_top_log_probs=5,
        num_prompt_log_probs=0,
        streaming=True,
        exclude_input=True,
        return_log_probs=True,
        return_perf_metrics=True,
        return_num_input_tokens=True,
        return_num_output_tokens=True,
    )


def test_padding_beyond_input_lengths_is_cut() -> None:
    assert parse("a", given(input_lengths=[2]), LIMITS).input_ids == (5, 6)


def test_the_output_is_clipped_to_the_context() -> None:
    assert parse("a", given(request_output_len=[1000]), LIMITS).max_tokens == 29


def test_the_deployment_decides_about_the_echo_unless_the_request_does() -> None:
    limits = Limits(max_seq_len=32, exclude_input=True)

    assert parse("a", given(), limits).exclude_input
    assert not parse("a", given(exclude_input_in_output=[False]), limits).exclude_input


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "prompt as long as the context": (
        {"input_ids": [[5] * 32], "input_lengths": [32]},
        r"^Prompt length \(32\) exceeds maximum input length \(31\)\.$",
    ),
    "empty prompt": ({"input_lengths": [0]}, "'input_ids' must have shape"),
    "length beyond the ids": ({"input_lengths": [4]}, "'input_ids' must have shape"),
    "flat ids": ({"input_ids": [5], "input_lengths": [1]}, "'input_ids' must have shape"),
    "two prompts": ({"input_ids": [[5], [6]]}, "^unsupported tensor 'input_ids': one prompt"),
    "no output": ({"request_output_len": [0]}, "'request_output_len' must be at least 1"),
    "two values": ({"temperature": [1.0, 2.0]}, "'temperature' must hold one value"),
    "no sequence": ({"num_return_sequences": [0]}, "'num_return_sequences' must be at least 1"),
    "unknown guide": (
        {"guided_decoding_guide_type": text(b"poem")},
        "^unsupported tensor 'guided_decoding_guide_type': 'poem'",
    ),
    "guide that is not text": (
        {"guided_decoding_guide_type": text(b"regex"), "guided_decoding_guide": text(b"\xff")},
        "'guided_decoding_guide' must be UTF-8",
    ),
    "offsets that fall": ({"stop_words_list": [[[1, 2], [2, 1]]]}, "'stop_words_list' must have"),
    "offset beyond": ({"stop_words_list": [[[1, 2], [3, -1]]]}, "'stop_words_list' must have"),
    "offset after -1": ({"stop_words_list": [[[1, 2], [-1, 2]]]}, "'stop_words_list' must have"),
    "too many log probs": ({"num_top_log_probs": [21]}, "'num_top_log_probs' must be at most 20"),
    "one row": ({"stop_words_list": [[[1, 2]]]}, r"'stop_words_list' must have shape \[1, 2, N\]"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSALS.values(), ids=REFUSALS)
def test_a_wrong_request_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        parse("a", given(**changes), LIMITS)


def test_no_words_are_none_whichever_way_they_are_sent() -> None:
    sent = [
        given(),
        given(stop_words_list=np.empty((1, 2, 0))),
        given(stop_words_list=[[[0], [-1]]]),
    ]

    assert [words(tensors, "stop_words_list") for tensors in sent] == [()] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("draft_input_ids", [[1]]),
        ("lora_task_id", [0]),
        ("return_generation_logits", [True]),
        ("runtime_top_p_min", [0.1]),
        ("retention_token_range_starts", [[0]]),
        ("prompt_embedding_table", [[[0.5]]]),
    ],
)
def test_what_no_engine_here_can_do_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UnsupportedTensor, match=f"^unsupported tensor '{name}': "):
        parse("a", given(**{name: value}), LIMITS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("draft_input_ids", np.empty((1, 0))),
        ("return_generation_logits", [False]),
        ("runtime_top_p_decay", [1.0]),
        ("early_stopping", [True]),
    ],
)
def test_what_asks_for_nothing_is_let_through(name: str, value: Any) -> None:
    assert parse("a", given(**{name: value}), LIMITS) == parse("a", given(), LIMITS)


def test_a_bias_of_nothing_is_none() -> None:
    nothing = given(embedding_bias=[[0.0] * 8])
    something = given(embedding_bias=[[0.0, 1.5]])

    assert parse("a", nothing, LIMITS).embedding_bias is None
    assert parse("a", something, LIMITS).embedding_bias.tolist() == [0.0, 1.5]  # type: ignore[union-attr]


def test_only_a_set_stop_tensor_stops() -> None:
    requests = [given(), given(stop=[False]), given(stop=[True])]

    assert [is_stop("a", tensors) for tensors in requests] == [False, False, True]


def test_a_stop_without_an_id_is_refused() -> None:
    with pytest.raises(Refused, match="request ID is not provided"):
        is_stop("", given(stop=[True]))


@pytest.mark.parametrize(
    ("sampling", "is_sampled"),
    [
        ({}, False),
        ({"temperature": 0.7}, False),
        ({"top_p": 0.9}, True),
        ({"top_p": 0.9, "temperature": 0.0}, False),
        ({"top_p": 0.9, "top_k": 1}, False),
        ({"top_k": 5}, True),
    ],
    ids=str,
)
def test_sampling_needs_a_temperature_and_a_choice(
    sampling: dict[str, Any], is_sampled: bool
) -> None:
    assert Request(id="a", input_ids=(5,), max_tokens=1, **sampling).is_sampled == is_sampled
