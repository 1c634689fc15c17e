"""A spec becomes a repository for our model on TensorRT-LLM's LLM API."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorrt_llm.llmapi import llm_args
from typer.testing import CliRunner

from build_engine.cli import app
from build_engine.commands import Toolbox
from build_engine.console import StageBoard
from build_engine.errors import BuildError
from build_engine.llm_api import config, llm_yaml, write_repository
from build_engine.look_models import read_config
from build_engine.pipeline import Build
from build_engine.production import Place
from build_engine.spec import load_spec
from build_engine.templates import templates_folder
from gateway.settings import load_models_file
from tests.golden import assert_golden
from tests.stand_ins.model import write_tokenizer

SPECS = (
    "llama-3.1-8b-h100-bf16",
    "llama-3.1-8b-h100-fp8-llmapi",
    "llama-3.1-8b-h100-ngram",
    "llama-3.1-8b-h100-eagle3",
    "llama-3.1-8b-h100-lora",
    "llama-3.3-70b-bf16-tp4",
)


@pytest.mark.parametrize("name", SPECS)
def test_the_arguments_of_shipped_specs_are_pinned_and_known_upstream(name: str) -> None:
    content = llm_yaml(load_spec(name))

    assert_golden(f"llm_api/{name}.yaml", content)
    llm_args.check(yaml.safe_load(content))


# What upstream's pages name (docs/source/features of NVIDIA/TensorRT-LLM), by what a spec says.
REACHES: dict[str, tuple[dict[str, Any], tuple[str, ...], Any]] = {
    "NVFP4 weights": (
        {
            "gpu": "b200-180g",
            "quantization": {"weights": "nvfp4", "kv_cache": "fp8", "published": True},
        },
        ("kv_cache_config", "dtype"),
        "fp8",
    ),
    "tensor parallel": ({"parallel": {"tensor": 4}}, ("tensor_parallel_size",), 4),
    "pipeline parallel": ({"parallel": {"pipeline": 2}}, ("pipeline_parallel_size",), 2),
    "expert parallel": (
        {"llm": {"moe_expert_parallel_size": 2}}, ("moe_expert_parallel_size",), 2,
    ),
    "draft model": (
        {
            "llm": {
                "speculative_config": {
                    "decoding_type": "Draft_Target",
                    "max_draft_len": 4,
                    "speculative_model_dir": "/models/llama-3.2-1b",
                }
            }
        },
        ("speculative_config", "speculative_model_dir"),
        "/models/llama-3.2-1b",
    ),
    "MTP": (
        {"llm": {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 1}}},
        ("speculative_config", "decoding_type"), "MTP",
    ),
    "no chunked prefill": (
        {
            "serving": {"chunked_context": False},
            "limits": {
                "max_batch_size": 8,
                "max_input_len": 4095,
                "max_seq_len": 4096,
                "max_num_tokens": 8192,
            },
        },
        ("enable_chunked_prefill",),
        False,
    ),
    "host cache": (
        {"serving": {"kv_cache_host_bytes": 10**9}}, ("kv_cache_config", "host_cache_size"), 10**9,
    ),
    "adapters": (
        {"lora": {"modules": ["attn_q"], "max_rank": 8}}, ("lora_config", "max_lora_rank"), 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REACHES)
def test_what_upstream_offers_is_reached_from_a_spec(case: str) -> None:
    changes, path, value = REACHES[case]

    found: Any = yaml.safe_load(llm_yaml(load_spec("llama-3.1-8b-h100-bf16").replaced(**changes)))

    llm_args.check(found)
    for name in path:
        found = found[name]
    assert found == value


def test_an_argument_that_nobody_knows_is_for_the_engine_to_refuse() -> None:
    spec = load_spec("llama-3.1-8b-h100-bf16").replaced(llm={"kv_cache_config": {"typo": 1}})

    with pytest.raises(ValueError, match=r"kv_cache_config\.typo"):
        llm_args.check(yaml.safe_load(llm_yaml(spec)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speculative": {"mode": "lookahead"}}, r"llm\.speculative_config"),
        ({"parallel": {"tensor": 16}}, "trtllm-llmapi-launch"),
        ({"lora": {"modules": ["attn_q"]}, "llm": {"lora_config": {}}}, "the spec's field lora"),
        ({"llm": {"max_seq_len": 5}}, "the spec's own fields make it 16384"),
    ],
    ids=["lookahead", "hosts", "adapters twice", "a limit twice"],
)
def test_what_it_does_not_take_is_refused_and_never_dropped(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        llm_yaml(load_spec("llama-3.1-8b-h100-bf16").replaced(**changes))


@pytest.mark.parametrize("name", ["llama-3.1-8b-h100-bf16", "llama-3.1-8b-h100-lora"])
def test_tensors_of_our_own_are_declared_for_what_the_spec_has(name: str, tmp_path: Path) -> None:
    template = (templates_folder() / "tensorrt_llm/config.pbtxt").read_text()
    path = tmp_path / "config.pbtxt"

    path.write_text(config(load_spec(name), template.replace("${", "").replace("}", "")))

    added = path.read_text().split("# Beside the contract")[1]
    assert ('"lora_path"' in added) == name.endswith("lora")
    assert added.count("input {") == 2 + name.endswith("lora")
    assert '"top_log_probs"' in added


def test_a_repository_is_whole_and_written_again_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    write_tokenizer(tmp_path / "tokenizer")
    spec, output = load_spec("llama-3.1-8b-h100-lora"), tmp_path / "served"

    for _ in range(2):
        write_repository(spec, output, tmp_path / "tokenizer", "triton:8001", tmp_path / "weights")

    found = read_config(output / "tensorrt_llm" / "config.pbtxt")
    parameters = {name: value["string_value"] for name, value in found["parameters"].items()}
    assert (found["backend"], parameters["engine"]) == ("python", "llm_api")
    assert (found["max_batch_size"], parameters["vocab_size"]) == (128, "128256")
    arguments = yaml.safe_load((output / "tensorrt_llm/1/llm.yaml").read_text())
    assert arguments["model"] == str(tmp_path / "weights")
    assert "revision" not in arguments
    (model,) = load_models_file(output / "gateway.yaml").models
    assert model.triton.address == "triton:8001"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    write_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "thesis.txt").touch()

    result = CliRunner().invoke(
        app,
        ["repository", "--engine", "llm_api", "--spec", "llama-3.1-8b-h100-bf16",
         "--output", str(tmp_path / "served"), "--tokenizer", str(tmp_path / "tokenizer")],
    )  # fmt: skip

    assert result.exit_code == 1
    assert "is not a model repository built by this tool" in result.stderr


def test_an_engine_is_not_built_without_what_a_spec_wants_of_the_llm_api(tmp_path: Path) -> None:
    spec = load_spec("llama-3.1-8b-h100-ngram")

    with pytest.raises(BuildError, match=r"^llm: .*repository --engine llm_api"):
        Build(spec, tmp_path, Place(tmp_path), Toolbox(), StageBoard(), tmp_path)
