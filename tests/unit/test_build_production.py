"""A repository for TensorRT-LLM, and that `verify` sees what is wrong with one."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from typer.testing import CliRunner

from build_engine.artifacts import checkpoint_problems, engine_problems
from build_engine.cli import app
from build_engine.commands import Toolbox
from build_engine.console import StageBoard
from build_engine.errors import BuildError
from build_engine.grammar import tokenizer_info
from build_engine.llmapi import model_yaml
from build_engine.manifest import MANIFEST, stamp
from build_engine.pipeline import Build
from build_engine.production import Place, configs
from build_engine.spec import load_spec
from build_engine.verify import config_problems, verify
from gateway.settings import load_models_file
from tests.stand_ins.model import write_tokenizer
from tests.stand_ins.repository import write_repository

SPEC = load_spec("llama-3.2-1b")
CONFIGS = [f"{m}/config.pbtxt" for m in ("ensemble", "postprocessing", "preprocessing")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("production")
    write_tokenizer(folder)
    write_repository(SPEC, folder, folder / "whole")
    return folder / "whole"


@pytest.fixture
def repository(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "repository", copy_function=shutil.copy2))


def failed(repository: Path) -> dict[str, str]:
    return {c.name: "\n".join(c.problems) for c in verify(repository) if c.problems}


def sign(repository: Path) -> None:
    """Make the manifest agree with the files as they are now."""
    path = repository / MANIFEST
    manifest = json.loads(path.read_text())
    for name, facts in manifest["files"].items():
        content = (repository / name).read_bytes()
        facts |= {**stamp(repository / name), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))


def test_a_repository_as_it_was_built_verifies(whole: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(whole)])

    assert result.exit_code == 0
    assert result.stdout.count("passed") == 6


def test_it_holds_what_serves_and_no_backend_in_python(whole: Path) -> None:
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}

    assert "tensorrt_llm/1/rank0.engine" in files
    assert not any(name.startswith("tensorrt_llm/1/") and name.endswith(".py") for name in files)
    assert (whole / "ensemble" / "1").is_dir()
    config = (whole / "tensorrt_llm/config.pbtxt").read_text()
    assert 'backend: "tensorrtllm"' in config
    assert f'string_value: "{whole}/tensorrt_llm/1"' in config


def test_the_gateway_can_be_pointed_at_it(whole: Path) -> None:
    (model,) = load_models_file(whole / "gateway.yaml").models

    assert (model.id, model.template) == ("llama-3.2-1b-instruct", "llama-3.2")
    assert model.max_model_len == SPEC.limits.max_seq_len
    assert Tokenizer.from_file(str(model.tokenizer / "tokenizer.json")).get_vocab_size() == 128_256


def test_guided_decoding_is_told_of_the_tokenizer(whole: Path) -> None:
    info = json.loads((whole / "tensorrt_llm/xgrammar_tokenizer_info.json").read_text())

    tokenizer = Tokenizer.from_file(str(whole / "tensorrt_llm/tokenizer/tokenizer.json"))
    assert info["encoded_vocab"][128_002] == tokenizer.id_to_token(128_002)
    assert len(info["encoded_vocab"]) == 128_256
    assert info["stop_token_ids"] == [128_001, 128_002]
    assert json.loads(info["tokenizer_str"]) == json.loads(tokenizer.to_str())


DAMAGE: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "engine lost": (
        lambda folder: (folder / "tensorrt_llm/1/rank0.engine").unlink(),
        "engine",
        "rank0.engine missing or empty",
    ),
    "engine cut": (
        lambda folder: (folder / "tensorrt_llm/1/rank0.engine").write_bytes(b"half"),
        "files",
        "rank0.engine is not as it was built",
    ),
    "a file too many": (
        lambda folder: (folder / "tensorrt_llm/1/rank1.engine").write_bytes(b"x"),
        "engine",
        "rank1.engine too many",
    ),
    "tokenizer lost": (
        lambda folder: (folder / "tensorrt_llm/tokenizer/tokenizer.json").unlink(),
        "tokenizer",
        "tokenizer.json",
    ),
    "code edited": (
        lambda folder: (folder / "preprocessing/1/model.py").write_text("import os"),
        "files",
        "preprocessing/1/model.py is not as it was built",
    ),
    "spec edited": (
        lambda folder: (folder / "engine.yaml").write_text(
            (folder / "engine.yaml").read_text().replace("128", "64")
        ),
        "manifest",
        "is not the spec",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_and_named(repository: Path, case: str) -> None:
    damage, check, message = DAMAGE[case]

    damage(repository)

    assert message in failed(repository)[check]


@pytest.mark.parametrize("name", [*CONFIGS, "tensorrt_llm/config.pbtxt"])
def test_a_config_that_was_edited_is_shown_by_its_line(repository: Path, name: str) -> None:
    text = (repository / name).read_text()
    (repository / name).write_text(text.replace("max_batch_size: 128", "max_batch_size: 129"))
    sign(repository)

    problem = failed(repository)["configs"]

    assert problem.startswith(f"{name}:")
    assert "the spec makes it 'max_batch_size: 128'" in problem


ENGINE_FIELDS = [
    "version",
    *(
        f"pretrained_config.{name}"
        for name in (
            "architecture", "dtype", "vocab_size", "hidden_size", "num_hidden_layers",
            "num_attention_heads", "num_key_value_heads", "intermediate_size",
            "mapping.world_size", "mapping.tp_size", "mapping.pp_size",
            "quantization.quant_algo", "quantization.kv_cache_quant_algo",
        )
    ),
    *(
        f"build_config.{name}"
        for name in (
            "max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens", "max_beam_width",
            "plugin_config.use_paged_context_fmha",
        )
    ),
]  # fmt: skip
WRONG = st.one_of(st.none(), st.integers(-1, 10**6), st.booleans(), st.text(max_size=8))


@settings(max_examples=300, deadline=None)
@given(field=st.sampled_from(ENGINE_FIELDS), value=WRONG)
def test_any_wrong_field_of_an_engine_is_refused(whole: Path, field: str, value: object) -> None:
    engine = whole / "tensorrt_llm" / "1"
    content = json.loads((engine / "config.json").read_text())
    *parents, last = field.split(".")
    part = content
    for parent in parents:
        part = part[parent]
    assume(part[last] != value or type(part[last]) is not type(value))
    part[last] = value

    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(content))
        Path(folder, "rank0.engine").write_bytes(b"stand-in engine")
        (problem,) = engine_problems(SPEC, Path(folder))

    assert last in problem or "built by TensorRT-LLM" in problem


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_wrong_word_of_a_config_is_refused(whole: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*CONFIGS, "tensorrt_llm/config.pbtxt"]))
    words = re.split(r"(\W+)", (whole / name).read_text())
    at = data.draw(st.integers(0, len(words) // 2).map(lambda number: 2 * number))
    words[at] = words[at] + "x"
    found = {**configs(SPEC, Place(whole)), name: "".join(words)}

    (problem,) = config_problems(SPEC, Place(whole), found)

    assert problem.startswith(f"{name}:")


def test_an_engine_of_another_version_names_the_container(repository: Path) -> None:
    path = repository / "tensorrt_llm/1/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "1.1.0"}))

    problem = failed(repository)["engine"]

    assert "built by TensorRT-LLM 1.1.0, but nvcr.io/nvidia/tritonserver:26.07" in problem


def test_a_tokenizer_of_another_model_is_refused(repository: Path) -> None:
    path = repository / "tensorrt_llm/tokenizer/tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"] = content["added_tokens"][:-1]
    path.write_text(json.dumps(content))
    sign(repository)

    problem = failed(repository)["tokenizer"]

    assert "128,255 tokens, but the engine has 128,256" in problem
    assert "xgrammar_tokenizer_info.json does not describe this tokenizer" in problem


def test_a_folder_of_something_else_is_no_repository(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(tmp_path)])

    assert result.exit_code == 1
    assert "is not a model repository built by this tool" in result.stderr


@pytest.mark.parametrize("content", ["", "[]", '{"architecture": "LlamaForCausalLM"}'])
def test_a_checkpoint_that_says_too_little_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)

    assert list(checkpoint_problems(SPEC, tmp_path))


@pytest.mark.parametrize(
    "text",
    ["{", '{"model": {"vocab": {"a": 0, "b": 2}}, "added_tokens": []}'],
    ids=["no JSON", "a gap"],
)
def test_a_tokenizer_that_cannot_be_described_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)

    with pytest.raises(Exception, match=r"tokenizer\.json (does not parse|has gaps)"):
        tokenizer_info(tmp_path)


@pytest.fixture
def nvidias(tmp_path: Path) -> Path:
    """A stand-in for NVIDIA's llmapi model: its files, not their contents."""
    folder = tmp_path / "llmapi" / "tensorrt_llm"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text('name: "tensorrt_llm"\nbackend: "python"\n')
    (folder / "1" / "model.py").touch()
    (folder / "1" / "model.yaml").write_text("model: other\n")
    return folder


def llmapi(nvidias: Path, whole: Path, output: Path, spec: str = "llama-3.2-1b") -> Any:
    tokenizer = str(whole / "tensorrt_llm" / "tokenizer")
    return CliRunner().invoke(
        app,
        ["repository", "--engine", "llmapi", "--spec", spec, "--output", str(output),
         "--llmapi-model", str(nvidias), "--tokenizer", tokenizer],
    )  # fmt: skip


def test_the_same_spec_can_be_served_without_an_engine(
    nvidias: Path, whole: Path, tmp_path: Path
) -> None:
    result = llmapi(nvidias, whole, tmp_path / "served")

    assert result.exit_code == 0, result.stderr
    content = yaml.safe_load((tmp_path / "served/tensorrt_llm/1/model.yaml").read_text())
    spec = load_spec("llama-3.2-1b")
    assert (content["model"], content["revision"]) == (spec.model.id, spec.model.revision)
    assert content["max_seq_len"] == spec.limits.max_seq_len
    assert content["triton_config"] == {"max_batch_size": 0, "decoupled": True}
    assert len(load_models_file(tmp_path / "served/gateway.yaml").models) == 1


def test_what_the_other_backend_does_not_do_is_refused(
    nvidias: Path, whole: Path, tmp_path: Path
) -> None:
    result = llmapi(nvidias, whole, tmp_path / "served", "llama-3.1-8b-h100-fp8")

    assert result.exit_code == 1
    assert "quantization.weights: the PyTorch backend loads weights that are" in result.stderr
    assert "nvidia/Llama-3.1-8B-Instruct-FP8" in result.stderr


# Arguments of tensorrt_llm.LLM (tensorrt_llm/llmapi/llm_args.py) by what a spec says.
REACHES: dict[str, tuple[dict[str, Any], tuple[str, ...], Any]] = {
    "host cache": (
        {"serving": {"kv_cache_host_bytes": 10**9}}, ("kv_cache_config", "host_cache_size"), 10**9,
    ),
    "scheduler": (
        {"serving": {"scheduler": "max_utilization"}},
        ("scheduler_config", "capacity_scheduler_policy"), "MAX_UTILIZATION",
    ),
    "guides": ({}, ("guided_decoding_backend",), "xgrammar"),
    "beams": ({"limits": {"max_beam_width": 2}}, ("max_beam_width",), 2),
    "fp8 KV of published weights": (
        {"quantization": {"weights": "fp8", "kv_cache": "fp8", "published": True}},
        ("kv_cache_config", "dtype"), "fp8",
    ),
    "drafts": (
        {"llm": {"speculative_config": {"decoding_type": "NGram", "max_draft_len": 4}}},
        ("speculative_config", "decoding_type"), "NGram",
    ),
    "CUDA graphs": (
        {"llm": {"cuda_graph_config": {"enable_padding": True}}},
        ("cuda_graph_config", "enable_padding"), True,
    ),
    "adapters": (
        {"llm": {"lora_config": {"max_lora_rank": 16}}}, ("lora_config", "max_lora_rank"), 16,
    ),
    "more of the KV cache": (
        {"llm": {"kv_cache_config": {"tokens_per_block": 64}}},
        ("kv_cache_config", "tokens_per_block"), 64,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REACHES)
def test_what_a_spec_says_reaches_the_pytorch_backend(case: str) -> None:
    changes, path, value = REACHES[case]
    spec = load_spec("llama-3.1-8b-h100-bf16")
    changes = {name: merge(spec.model_dump()[name], part) for name, part in changes.items()}

    found: Any = yaml.safe_load(model_yaml(spec.replaced(**changes)))

    for name in path:
        found = found[name]
    assert found == value


def merge(whole: Any, part: Any) -> Any:
    return whole | part if isinstance(whole, dict) else part


UNREACHED: dict[str, tuple[dict[str, Any], str]] = {
    "speculative": ({"speculative": {"mode": "lookahead"}}, "llm.speculative_config"),
    "lora": ({"lora": {"modules": ["attn_q"]}}, "llm.lora_config"),
    "queue": ({"serving": {"max_queue_size": 5}}, "serving.max_queue_size"),
    "hosts": ({"parallel": {"tensor": 16}}, "trtllm-llmapi-launch"),
    "twice": ({"llm": {"max_seq_len": 5}}, "llm.max_seq_len: the spec's own fields make it 16384"),
}


@pytest.mark.parametrize("case", UNREACHED)
def test_what_the_pytorch_backend_does_not_take_is_refused_and_never_dropped(case: str) -> None:
    changes, message = UNREACHED[case]

    with pytest.raises(BuildError, match=message):
        model_yaml(load_spec("llama-3.1-8b-h100-bf16").replaced(**changes))


def test_published_weights_are_served_as_they_are(tmp_path: Path) -> None:
    spec = load_spec("llama-3.1-8b-h100-fp8-llmapi")

    content = yaml.safe_load(model_yaml(spec))

    assert content["model"] == "nvidia/Llama-3.1-8B-Instruct-FP8"
    with pytest.raises(BuildError, match="repository --engine llm_api"):
        Build(spec, tmp_path, Place(tmp_path), Toolbox(), StageBoard(), tmp_path)


def test_nvidias_model_is_looked_for_where_containers_have_it(whole: Path, tmp_path: Path) -> None:
    result = llmapi(tmp_path / "nowhere", whole, tmp_path / "served")

    assert result.exit_code == 1
    assert "run this inside nvcr.io/nvidia/tritonserver:26.07" in result.stderr
