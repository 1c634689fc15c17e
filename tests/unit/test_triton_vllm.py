"""A model of Triton's vLLM backend: its contract, and how what it tells of a text is counted."""

import struct
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from gateway.generation import FinishReason
from gateway.triton.contract import ContractMismatch
from gateway.triton.vllm import TextSoFar, read_vllm

CONFIG = Path(__file__).parents[1] / "models/vllm_backend/config.pbtxt"


def config() -> Any:
    return text_format.Parse(CONFIG.read_text(), model_config_pb2.ModelConfig())


def told(text: str, *, tokens: int | None = None, reason: str = "") -> dict[str, bytes]:
    raw = {"text_output": struct.pack("<I", len(text)) + text.encode()}
    if tokens is not None:
        raw["num_output_tokens"] = struct.pack("<I", tokens)
    if reason:
        raw["finish_reason"] = struct.pack("<I", len(reason)) + reason.encode()
    return raw


def test_the_context_has_to_be_told() -> None:
    assert read_vllm(config(), 100).max_model_len == 100
    with pytest.raises(ContractMismatch, match="max_model_len"):
        read_vllm(config(), None)


def test_a_model_that_cannot_stream_is_refused() -> None:
    coupled, without = config(), config()
    coupled.model_transaction_policy.decoupled = False
    del without.input[1]

    for refused, reason in ((coupled, "not decoupled"), (without, "no input tensor 'stream'")):
        with pytest.raises(ContractMismatch, match=reason):
            read_vllm(refused, 100)


def test_tokens_are_those_it_tells() -> None:
    text = TextSoFar(max_tokens=9)

    gains = [text.grow(told("ab", tokens=2)), text.grow(told("", tokens=1))]

    assert [(gain.text, gain.num_tokens) for gain in gains] == [("ab", 2), ("", 1)]
    assert text.num_tokens == 3


@pytest.mark.parametrize(
    ("reason", "tokens", "expected"),
    [
        ("length", 1, FinishReason.LENGTH),
        ("stop", 3, FinishReason.STOP),
        ("", 3, FinishReason.LENGTH),
        ("", 2, FinishReason.STOP),
    ],
    ids=["told length", "told stop", "not told, full", "not told, short"],
)
def test_it_ended_as_told_or_else_by_its_length(
    reason: str, tokens: int, expected: FinishReason
) -> None:
    text = TextSoFar(max_tokens=3)

    text.grow(told("a", tokens=tokens, reason=reason))

    assert text.reason is expected
