"""A repository is written whole or not at all, and only when something changed."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tokenizers import Tokenizer

from build_engine.errors import BuildError
from build_engine.manifest import Manifest
from build_engine.repository import RepositorySpec, build
from tests.gguf_files import LLAMA, write_gguf


@pytest.fixture
def spec(tmp_path: Path) -> RepositorySpec:
    model = write_gguf(tmp_path / "Tiny-Llama.Q4_1.gguf", LLAMA)
    return RepositorySpec("openvino", tmp_path / "repository", model)


@pytest.fixture
def tokenizer(spec: RepositorySpec) -> Path:
    """A folder of Hugging Face files, and one that is none of them."""
    folder = build(replace(spec, output=spec.output.with_name("other"))).tokenizer_dir
    (folder / "README.md").write_text("not copied")
    return folder


def test_the_models_are_there_with_config_and_version(spec: RepositorySpec) -> None:
    path = build(spec).path

    models = sorted(config.parent.name for config in path.glob("*/config.pbtxt"))
    assert models == ["ensemble", "postprocessing", "preprocessing", "tensorrt_llm"]
    assert all((path / model / "1").is_dir() for model in models)


def test_no_structural_variable_of_a_template_is_left(spec: RepositorySpec) -> None:
    config = (build(spec).path / "tensorrt_llm" / "config.pbtxt").read_text()

    lines = [line for line in config.splitlines() if "${" in line and "string_value" not in line]
    assert lines == []
    assert 'string_value: "openvino"' in config
    assert 'string_value: "512"' in config


def test_the_weights_are_not_copied_where_a_link_will_do(spec: RepositorySpec) -> None:
    assert spec.model is not None

    placed = build(spec).path / "tensorrt_llm" / "1" / "model.gguf"

    assert placed.samefile(spec.model)


def test_the_gateway_is_told_what_it_needs(spec: RepositorySpec) -> None:
    repository = build(spec)

    (model,) = yaml.safe_load(repository.gateway_file.read_text())["models"]
    assert model == {
        "id": "tiny-llama",
        "tokenizer": "tensorrt_llm/tokenizer",
        "triton": {"model": "tensorrt_llm"},
        "max_model_len": 512,
    }
    assert repository.path / model["tokenizer"] == repository.tokenizer_dir
    Tokenizer.from_file(str(repository.tokenizer_dir / "tokenizer.json"))


def test_the_manifest_lists_every_file_with_its_digest(spec: RepositorySpec) -> None:
    repository = build(spec)

    listed = json.loads((repository.path / "manifest.json").read_text())["files"]
    there = {
        path.relative_to(repository.path).as_posix(): path
        for path in repository.path.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert {name: facts["sha256"] for name, facts in listed.items()} == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in there.items()
    }


def test_the_manifest_names_model_source_and_versions(spec: RepositorySpec) -> None:
    assert spec.model is not None
    manifest = build(spec).manifest

    assert manifest == Manifest.read(spec.output)
    assert manifest.model.source == "Tiny-Llama.Q4_1.gguf"
    assert manifest.model.revision == hashlib.sha256(spec.model.read_bytes()).hexdigest()
    assert {"python", "tokenizers", "triton-openai-gateway"} <= manifest.versions.keys()


def test_a_second_build_changes_nothing_and_writes_nothing(spec: RepositorySpec) -> None:
    build(spec)
    before = written(spec.output)

    again = build(spec)

    assert not again.changed
    assert written(spec.output) == before


def written(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return which file lies at each path, and when it was last written."""
    stats = {path: path.stat() for path in folder.rglob("*")}
    return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in stats.items()}


def test_another_way_to_name_the_same_model_changes_nothing(
    spec: RepositorySpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spec.model is not None
    build(spec)
    monkeypatch.chdir(spec.model.parent)

    assert not build(replace(spec, model=Path(spec.model.name), output=Path("repository"))).changed


@pytest.mark.parametrize(
    "damaged",
    ["tensorrt_llm/config.pbtxt", "gateway.yaml", "tensorrt_llm/tokenizer/tokenizer.json"],
)
def test_a_file_that_was_lost_or_edited_is_written_again(
    spec: RepositorySpec, damaged: str
) -> None:
    path = build(spec).path / damaged
    original = path.read_text()

    path.unlink()
    assert build(spec).changed
    path.write_text("edited")
    assert build(spec).changed

    assert path.read_text() == original


def test_a_model_that_changed_is_built_again(spec: RepositorySpec) -> None:
    assert spec.model is not None
    build(spec)
    spec.model.unlink()
    write_gguf(spec.model, LLAMA | {"llama.context_length": 256})

    again = build(spec)

    assert again.changed
    assert again.manifest.model.context_length == 256


def test_a_build_that_fails_leaves_the_repository_as_it_was(spec: RepositorySpec) -> None:
    before = build(spec).manifest
    bad = write_gguf(spec.output.with_name("bad.gguf"), LLAMA | {"tokenizer.ggml.pre": "tekken"})

    with pytest.raises(BuildError, match="tekken"):
        build(replace(spec, model=bad))

    assert Manifest.read(spec.output) == before
    assert before.is_whole(spec.output)
    assert not list(spec.output.parent.glob(".*"))


def test_a_build_that_is_interrupted_leaves_nothing(spec: RepositorySpec) -> None:
    def interrupt(step: str, done_bytes: int, total_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(spec, interrupt)

    assert [path.name for path in spec.output.parent.iterdir()] == ["Tiny-Llama.Q4_1.gguf"]


def test_what_a_killed_build_left_is_cleared_away(spec: RepositorySpec) -> None:
    left = spec.output.with_name(".repository.building")
    (left / "tensorrt_llm").mkdir(parents=True)

    assert build(spec).changed
    assert not left.exists()


def test_a_folder_of_something_else_is_not_overwritten(spec: RepositorySpec) -> None:
    spec.output.mkdir()
    (spec.output / "thesis.txt").write_text("years of work")

    with pytest.raises(BuildError, match="not a model repository built by this tool"):
        build(spec)

    assert os.listdir(spec.output) == ["thesis.txt"]


def test_an_empty_folder_is_filled(spec: RepositorySpec) -> None:
    spec.output.mkdir()

    assert build(spec).changed


def test_another_architecture_is_refused_by_name(spec: RepositorySpec) -> None:
    assert spec.model is not None
    write_gguf(spec.model, LLAMA | {"general.architecture": "qwen2"})

    with pytest.raises(BuildError, match="architecture 'qwen2'"):
        build(spec)


def test_a_simulator_gets_script_and_tokenizer_and_no_weights(
    spec: RepositorySpec, tokenizer: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"answers": []}')

    repository = build(RepositorySpec("simulated", spec.output, None, tokenizer, script))

    version = repository.path / "tensorrt_llm" / "1"
    assert (version / "simulator.json").read_text() == '{"answers": []}'
    assert not (version / "model.gguf").exists()
    assert sorted(os.listdir(repository.tokenizer_dir)) == [
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert repository.manifest.model.context_length == 512


def test_a_script_for_a_real_engine_is_refused(spec: RepositorySpec, tmp_path: Path) -> None:
    (tmp_path / "script.json").touch()

    with pytest.raises(BuildError, match="only for the simulated engine"):
        build(replace(spec, script=tmp_path / "script.json"))


def test_a_tokenizer_folder_without_its_files_is_refused(
    spec: RepositorySpec, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(BuildError, match=r"lacks tokenizer\.json, tokenizer_config\.json"):
        build(replace(spec, tokenizer=tmp_path / "empty"))


def test_progress_reaches_its_total(spec: RepositorySpec) -> None:
    seen: list[tuple[str, int, int]] = []

    build(spec, lambda *step: seen.append(step))

    _, done_bytes, total_bytes = seen[-1]
    assert done_bytes == total_bytes > 0
