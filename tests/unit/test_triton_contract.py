from collections.abc import Callable
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2 as mc

from gateway.engine import Feature
from gateway.triton.contract import ContractMismatch, read_contract
from gateway.triton.ensemble import read_ensemble
from gateway.triton.llmapi import read_llmapi

INPUTS = (
    "input_ids input_lengths request_output_len streaming num_return_sequences stop_words_list "
    "return_log_probs embedding_bias guided_decoding_guide_type guided_decoding_guide"
)
OUTPUTS = "output_ids sequence_length output_log_probs sequence_index"


def config(
    inputs: str = INPUTS, decoupled: bool = True, outputs: str = OUTPUTS, **parameters: str
) -> Any:
    message = mc.ModelConfig(name="tensorrt_llm", max_batch_size=8)
    message.model_transaction_policy.decoupled = decoupled
    for name in inputs.split():
        message.input.add(name=name)
    for name in outputs.split():
        message.output.add(name=name)
    for name, value in {"max_seq_len": "2048", **parameters}.items():
        message.parameters[name].string_value = value
    return message


def test_names_follow_the_tensors_that_are_declared() -> None:
    newer = read_contract(config(INPUTS + " seed min_tokens"), vocab_size=10)
    older = read_contract(config(INPUTS + " random_seed min_length"), vocab_size=10)

    assert (newer.seed, newer.min_tokens) == ("seed", "min_tokens")
    assert (older.seed, older.min_tokens) == ("random_seed", "min_length")


def test_features_follow_the_tensors_that_are_declared() -> None:
    contract = read_contract(config(), vocab_size=10)

    assert Feature.LOGIT_BIAS in contract.features
    assert Feature.LORA not in contract.features
    assert Feature.MIN_P not in contract.features


@pytest.mark.parametrize(
    ("output", "feature"),
    [("output_log_probs", Feature.LOGPROBS), ("sequence_index", Feature.NUM_SEQUENCES)],
)
def test_what_cannot_come_back_cannot_be_asked_for(output: str, feature: Feature) -> None:
    without = read_contract(config(outputs=OUTPUTS.replace(output, "")), vocab_size=10)

    assert feature in read_contract(config(), vocab_size=10).features
    assert feature not in without.features


def test_the_likeliest_are_told_where_a_model_declares_tensors_of_our_own() -> None:
    contract = config(
        inputs=f"{INPUTS} num_top_log_probs",
        outputs=f"{OUTPUTS} top_log_prob_ids top_log_probs",
    )

    assert Feature.TOP_LOGPROBS in read_contract(contract, vocab_size=10).features
    assert Feature.TOP_LOGPROBS not in read_contract(config(), vocab_size=10).features


def test_guided_decoding_needs_a_backend_behind_its_tensors() -> None:
    with_backend = read_contract(config(guided_decoding_backend="xgrammar"), vocab_size=10)
    unfilled = config(guided_decoding_backend="${guided_decoding_backend}")

    assert Feature.GUIDED_DECODING in with_backend.features
    assert Feature.GUIDED_DECODING not in read_contract(unfilled, vocab_size=10).features


def test_a_context_length_below_the_one_published_is_kept() -> None:
    assert read_contract(config(), vocab_size=10).max_model_len == 2048
    assert read_contract(config(), vocab_size=10, max_model_len=512).max_model_len == 512


@pytest.mark.parametrize(
    ("message", "says"),
    [
        pytest.param(config(INPUTS.replace("input_ids ", "")), "'input_ids'", id="no input ids"),
        pytest.param(config(decoupled=False), "decoupled_mode:true", id="not decoupled"),
        pytest.param(config(max_seq_len="0"), "max_model_len", id="no context length"),
        pytest.param(config(max_seq_len="${max_seq_len}"), "max_model_len", id="never filled in"),
    ],
)
def test_a_mismatch_names_what_is_wrong(message: Any, says: str) -> None:
    with pytest.raises(ContractMismatch, match=says):
        read_contract(message, vocab_size=10)


@pytest.mark.parametrize(
    "read",
    [
        lambda limit: read_contract(config(), 10, limit),
        lambda limit: read_llmapi(config(), limit),
        lambda limit: read_ensemble(config("text_input max_tokens stream"), [config()], limit),
    ],
    ids=["tensorrt_llm", "llmapi", "ensemble"],
)
def test_a_context_length_above_the_one_published_is_refused(read: Callable[[int], Any]) -> None:
    assert read(2048).max_model_len == 2048

    with pytest.raises(ContractMismatch, match=r"2048 tokens \(max_seq_len\).* of 2049"):
        read(2049)
