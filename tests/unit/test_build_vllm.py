"""A repository for vLLM: what it starts, what it serves, what is refused and why."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from build_engine.errors import BuildError
from build_engine.repository import Repository, RepositorySpec, build
from build_engine.vllm import VllmSpec, check_vllm
from tests.fakes import tiny_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as the hub has it, less the weights."""
    folder = tmp_path / "Tiny Llama"
    shutil.copytree(tiny_tokenizer(), folder)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 4096}))
    return folder


def built(model: Path | None, output: Path, /, **arguments: Any) -> Repository:
    spec = RepositorySpec("vllm", output, model, vllm=VllmSpec("/vllm/bin/python", arguments))
    return build(spec)


def parameters(repository: Repository) -> str:
    return (repository.path / "tensorrt_llm" / "config.pbtxt").read_text()


def test_it_starts_what_was_asked_for_and_tells_the_gateway(model: Path, tmp_path: Path) -> None:
    repository = built(model, tmp_path / "repo", max_model_len=2048, max_num_seqs=8)

    started = json.loads((repository.path / "tensorrt_llm/1/vllm.json").read_text())
    (served,) = yaml.safe_load(repository.gateway_file.read_text())["models"]
    assert started["python"] == "/vllm/bin/python"
    assert started["arguments"]["model"] == str(model.resolve())
    assert (served["id"], served["max_model_len"]) == ("tiny-llama", 2048)
    for part in ("max_batch_size: 8", 'string_value: "vllm"', 'string_value: "2048"'):
        assert part in parameters(repository)
    assert "lora_path" not in parameters(repository)


def test_adapters_can_be_asked_for_where_they_are_enabled(model: Path, tmp_path: Path) -> None:
    repository = built(model, tmp_path / "repo", enable_lora=True)

    assert "lora_path" in parameters(repository)


def test_the_same_build_twice_changes_nothing_and_other_arguments_do(
    model: Path, tmp_path: Path
) -> None:
    first, again = (built(model, tmp_path / "repo") for _ in range(2))
    other = built(model, tmp_path / "repo", max_model_len=1024)

    assert [first.changed, again.changed, other.changed] == [True, False, True]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too long": ({"max_model_len": 8192}, "the model's is 4096"),
    "no number": ({"max_num_seqs": "many"}, "max_num_seqs is 'many'"),
    "below 1": ({"block_size": 0}, "block_size is 0"),
    "decided elsewhere": ({"model": "x"}, "model is decided by the repository"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arguments_that_cannot_be_are_refused_by_name(
    model: Path, tmp_path: Path, case: str
) -> None:
    arguments, message = REFUSED[case]

    with pytest.raises(BuildError, match=message):
        built(model, tmp_path / "repo", **arguments)


@pytest.mark.parametrize("text", ["[]", "{", "1", '"x"'])
def test_arguments_are_a_json_object(text: str) -> None:
    with pytest.raises(BuildError, match="not a JSON object"):
        VllmSpec.read("", text)


def test_a_model_is_needed_and_must_be_a_folder_of_one(model: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="name it with --model"):
        built(None, tmp_path / "repo")
    (model / "config.json").unlink()
    with pytest.raises(BuildError, match=r"config\.json lacks"):
        built(model, tmp_path / "repo")


def program(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_machine_without_a_gpu_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BuildError, match=r"needs an NVIDIA GPU.*openvino"):
        check_vllm("")


@pytest.mark.parametrize("python", ["exit 1", None], ids=["without vllm", "not there"])
def test_an_interpreter_without_vllm_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str | None
) -> None:
    program(tmp_path / "bin", "nvidia-smi", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    name = str(program(tmp_path, "python", python) if python else tmp_path / "none")

    with pytest.raises(BuildError, match=r"has no vllm.*pip install vllm==.*--vllm-python"):
        check_vllm(name)


def test_a_gpu_and_an_interpreter_that_has_vllm_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "nvidia-smi", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    check_vllm(str(program(tmp_path, "python", "echo 0.26.0")))
