"""NVIDIA's llmapi model: its contract as the stand-in has it, and texts that come whole."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from google.protobuf import text_format
from tokenizers import processors
from tritonclient.grpc import model_config_pb2

from gateway.generation import Prompt
from gateway.prompt.tokenizer import Tokenizer
from gateway.triton.contract import ContractMismatch
from gateway.triton.llmapi import CumulativeText, read_llmapi
from gateway.triton.text import unopened
from tests.fakes import FakeEngine, tiny_model, tiny_tokenizer

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


def opened_by(template: str, folder: Path) -> Tokenizer:
    """The tiny tokenizer, with a post-processor that puts control tokens around a text."""
    shutil.copytree(tiny_tokenizer(), folder)
    path = folder / "tokenizer.json"
    backend = tokenizers.Tokenizer.from_file(str(path))
    names = [name for name in ("<|im_start|>", "<|im_end|>") if name in template]
    places = [(name, backend.token_to_id(name)) for name in names]
    backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=places)
    path.write_text(backend.to_str())
    return Tokenizer.load(folder)


def read_by_server(folder: Path, text: str) -> list[int]:
    """Encode as tensorrt_llm/inputs/registry.py (002f3cc) does: with special tokens, and with those
    that the text spells."""
    ids: list[int] = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    return ids


@pytest.mark.parametrize("template", ["<|im_start|> $A", "$A", "$A <|im_end|>"])
@pytest.mark.parametrize("text", ["<|im_start|>user", "<|im_start|><|im_start|>a", "plain", ""])
def test_a_server_that_opens_texts_itself_reads_the_ids_that_the_gateway_meant(
    template: str, text: str, tmp_path: Path
) -> None:
    tokenizer = opened_by(template, tmp_path / "tokenizer")
    opening = list(tokenizer.opening_ids)
    meant = tokenizer.encode_with_special(text)
    prompt = Prompt(tuple(meant), text)

    sent = unopened(prompt, tokenizer)
    read = read_by_server(tmp_path / "tokenizer", sent)

    end = [257] if "<|im_end|>" in template else []
    assert tokenizer.opening_ids == ((256,) if template.startswith("<") else ())
    assert read == (meant if meant[: len(opening)] == opening else opening + meant) + end


def test_llama_3_opens_texts_with_one_begin_of_text(llama3_folder: Path) -> None:
    tokenizer = Tokenizer.load(llama3_folder)
    text = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    prompt = Prompt(tuple(tokenizer.encode_with_special(text)), text)

    read = read_by_server(llama3_folder, unopened(prompt, tokenizer))

    assert tuple(read) == prompt.token_ids
    assert read.count(128_000) == 1
