"""NVIDIA's llmapi model: its contract as the stand-in has it, and texts that come whole."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from gateway.triton.contract import ContractMismatch
from gateway.triton.llmapi import CumulativeText, read_llmapi
from tests.fakes import FakeEngine, tiny_model

TESTS = Path(__file__).parents[1]
CONTRACT = json.loads((TESTS / "data/tensor-contract-trtllm-1.2.json").read_text())["llmapi"]
CODEC = tiny_model(FakeEngine()).tokenizer


def config() -> Any:
    source = (TESTS / "models/llmapi/config.pbtxt").read_text()
    return text_format.Parse(source, model_config_pb2.ModelConfig())


def tensors(declared: Any) -> list[tuple[str, str, list[int]]]:
    types = model_config_pb2.DataType
    return [(t.name, types.Name(t.data_type).removeprefix("TYPE_"), [*t.dims]) for t in declared]


@pytest.mark.parametrize("side", ["input", "output"])
def test_the_stand_in_has_the_contract_of_nvidias_model(side: str) -> None:
    expected = [(t["name"], t["data_type"], t["dims"]) for t in CONTRACT[f"{side}s"]]

    assert tensors(getattr(config(), side)) == expected


def test_without_batches_a_scalar_has_one_dimension() -> None:
    assert read_llmapi(config(), 100).shape == (1,)


def test_a_model_that_does_not_tell_its_context_needs_it_told() -> None:
    with pytest.raises(ContractMismatch, match="max_model_len"):
        read_llmapi(config(), None)


def test_a_model_that_cannot_stream_is_refused() -> None:
    coupled = config()
    coupled.model_transaction_policy.decoupled = False

    with pytest.raises(ContractMismatch, match="decoupled"):
        read_llmapi(coupled, 100)


def test_a_text_that_comes_whole_grows_by_what_is_new() -> None:
    text = CumulativeText(CODEC)

    gains = [text.grow("a", False), text.grow("a\N{REPLACEMENT CHARACTER}", False)]
    gains.append(text.grow("aéz", True))

    assert [gain.text for gain in gains] == ["a", "", "éz"]
    assert sum(gain.num_tokens for gain in gains) == len("aéz".encode())
