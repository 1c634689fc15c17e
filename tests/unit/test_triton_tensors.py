import struct
from typing import Any

import numpy as np

from gateway.generation import Generation, Guide, GuideKind, Prompt, Sampling
from gateway.triton.contract import Contract
from gateway.triton.tensors import encode_request

INPUTS = """
input_ids input_lengths request_output_len streaming exclude_input_in_output temperature
runtime_top_k runtime_top_p seed min_tokens end_id pad_id stop_words_list bad_words_list
embedding_bias num_return_sequences return_log_probs return_perf_metrics
guided_decoding_guide_type guided_decoding_guide presence_penalty
"""
CONTRACT = Contract(
    model="tensorrt_llm",
    inputs=frozenset(INPUTS.split()),
    outputs=frozenset({"output_ids", "sequence_length", "kv_cache_reused_blocks"}),
    parameters={},
    vocab_size=6,
    max_model_len=100,
)
PROMPT = Prompt((7, 8, 9), "abc")


def sent(generation: Generation, contract: Contract = CONTRACT) -> dict[str, tuple[Any, ...]]:
    """Return name -> (datatype, shape, raw bytes) of the request for a generation."""
    request = encode_request(generation, contract, "an-id")
    return {
        tensor.name: (tensor.datatype, tuple(tensor.shape), raw)
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def test_prompt_and_lengths_travel_as_a_batch_of_one() -> None:
    tensors = sent(Generation(PROMPT, max_tokens=5))

    assert tensors["input_ids"] == ("INT32", (1, 3), struct.pack("<3i", 7, 8, 9))
    assert tensors["input_lengths"] == ("INT32", (1, 1), struct.pack("<i", 3))
    assert tensors["request_output_len"] == ("INT32", (1, 1), struct.pack("<i", 5))
    assert tensors["exclude_input_in_output"] == ("BOOL", (1, 1), b"\1")


def test_the_streaming_flag_is_always_explicit() -> None:
    assert sent(Generation(PROMPT, 5, streaming=False))["streaming"][2] == b"\0"
    assert sent(Generation(PROMPT, 5))["streaming"][2] == b"\1"


def test_temperature_zero_becomes_top_k_one() -> None:
    tensors = sent(Generation(PROMPT, 5, sampling=Sampling(temperature=0, top_k=40)))

    assert tensors["runtime_top_k"][2] == struct.pack("<i", 1)
    assert tensors["temperature"][2] == struct.pack("<f", 1.0)


def test_the_first_end_id_is_end_id_and_the_others_are_stop_words() -> None:
    tensors = sent(Generation(PROMPT, 5, end_ids=(2, 3, 4)))

    assert tensors["end_id"][2] == struct.pack("<i", 2)
    assert tensors["stop_words_list"] == ("INT32", (1, 2, 2), struct.pack("<4i", 3, 4, 1, 2))


def test_words_of_several_tokens_are_padded_with_minus_one() -> None:
    tensors = sent(Generation(PROMPT, 5, bad_words=((9,), (7, 8))))

    assert tensors["bad_words_list"] == (
        "INT32",
        (1, 2, 3),
        struct.pack("<6i", 9, 7, 8, 1, 3, -1),
    )


def test_no_end_ids_means_no_end_tensors() -> None:
    assert not {"end_id", "stop_words_list"} & sent(Generation(PROMPT, 5)).keys()


def test_a_logit_bias_is_spread_over_the_vocabulary() -> None:
    tensors = sent(Generation(PROMPT, 5, logit_bias=((1, -100.0), (5, 2.5))))

    datatype, shape, raw = tensors["embedding_bias"]
    assert (datatype, shape) == ("FP32", (1, 6))
    assert np.frombuffer(raw, np.float32).tolist() == [0, -100, 0, 0, 0, 2.5]


def test_the_seed_uses_the_name_the_model_declares() -> None:
    older = Contract(
        "tensorrt_llm", frozenset({"random_seed"}), frozenset(), {}, vocab_size=6, max_model_len=9
    )

    tensors = sent(Generation(PROMPT, 5, sampling=Sampling(seed=2**64 - 1)), older)

    assert tensors == {"random_seed": ("UINT64", (1, 1), b"\xff" * 8)}


def test_a_guide_travels_as_two_strings() -> None:
    tensors = sent(Generation(PROMPT, 5, guide=Guide(GuideKind.REGEX, "é+")))

    assert tensors["guided_decoding_guide_type"] == ("BYTES", (1, 1), b"\5\0\0\0regex")
    assert tensors["guided_decoding_guide"] == ("BYTES", (1, 1), b"\3\0\0\0\xc3\xa9+")
