"""What a model's makers advise stands in the models file, and only what the gateway takes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from build_engine import smollm2
from build_engine.repository import RepositorySpec, build
from build_engine.sampling import advised
from gateway.settings import SamplingSettings, load_models_file
from tests.gguf_files import LLAMA, write_gguf

LLAMA_3 = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [128001, 128009]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(LLAMA_3, {"temperature": 0.6, "top_p": 0.9}, id="Llama 3"),
        pytest.param(
            {"top_k": 20, "repetition_penalty": 1.05},
            {"top_k": 20, "repetition_penalty": 1.05},
            id="Qwen",
        ),
        pytest.param({"eos_token_id": 0}, {}, id="nothing"),
        pytest.param({"do_sample": False, "temperature": 0.6}, {"temperature": 0}, id="greedy"),
        pytest.param({"temperature": 5, "top_p": 0, "top_k": -1}, {}, id="out of range"),
        pytest.param({"temperature": True, "top_p": "0.9", "top_k": 1.5}, {}, id="no numbers"),
        pytest.param({"temperature": float("nan"), "top_k": float("inf")}, {}, id="not finite"),
        pytest.param([0.6], {}, id="a list"),
    ],
)
def test_advice_is_taken_as_far_as_the_gateway_takes_it(
    tmp_path: Path, config: object, expected: dict[str, float]
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(config))

    found = advised(tmp_path)

    assert found == expected
    SamplingSettings.model_validate(dict(found))


@pytest.mark.parametrize("content", [None, b"\xff", b"[" * 100_000], ids=["none", "bytes", "deep"])
def test_a_folder_without_readable_advice_gives_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "generation_config.json").write_bytes(content)

    assert advised(tmp_path) == {}


def test_the_advice_of_a_tokenizer_folder_is_written_into_the_models_file(tmp_path: Path) -> None:
    model = write_gguf(tmp_path / "tiny.gguf", LLAMA)
    plain = RepositorySpec("openvino", tmp_path / "plain", model)
    folder = build(plain).tokenizer_dir
    (folder / "generation_config.json").write_text(json.dumps(LLAMA_3))

    made = build(replace(plain, output=tmp_path / "advised", tokenizer=folder))

    [served] = load_models_file(made.gateway_file).models
    assert served.defaults == SamplingSettings(temperature=0.6, top_p=0.9)


def test_the_small_model_is_sampled_as_its_card_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = write_gguf(tmp_path / "SmolLM2.gguf", LLAMA)
    monkeypatch.setattr(smollm2, "fetch", lambda *_: gguf)

    made = build(RepositorySpec("openvino", tmp_path / "repository"))

    [served] = load_models_file(made.gateway_file).models
    assert served.defaults == SamplingSettings(temperature=0.2, top_p=0.9)
