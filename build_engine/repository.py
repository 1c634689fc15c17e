"""A complete Triton model repository: models, weights, tokenizer, manifest, the gateway's file.

Says what goes where; how files are fetched, read and placed is in the modules it calls.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml

from build_engine import smollm2
from build_engine.errors import BuildError
from build_engine.files import locked, place, replacing
from build_engine.manifest import Manifest, ModelFacts, describe, stamp, tool_versions
from build_engine.progress import Progress, silent
from build_engine.sampling import Sampling, as_defaults
from build_engine.templates import render, templates_folder
from build_engine.vllm import VllmSpec
from build_engine.weights import CheckpointFolder, TokenizerFolder, Weights

Engine = Literal["openvino", "simulated", "vllm"]
TRITON_MODEL = "tensorrt_llm"
_TOKENIZER = f"{TRITON_MODEL}/tokenizer"
_VERSION = f"{TRITON_MODEL}/1"
_GATEWAY_FILE = "gateway.yaml"
# What the templates leave open, for the engines that run in the Python backend.
PYTHON_VARIABLES = {
    "triton_backend": "python",
    "triton_max_batch_size": "64",
    "decoupled_mode": "True",
    "max_queue_delay_microseconds": "0",
    "max_queue_size": "0",
    "max_beam_width": "1",
    "exclude_input_in_output": "true",
    "enable_kv_cache_reuse": "true",
    "guided_decoding_backend": "xgrammar",
    "logits_datatype": "TYPE_FP32",
    "encoder_input_features_data_type": "TYPE_FP16",
    "prompt_embedding_table_data_type": "TYPE_FP16",
    "preprocessing_instance_count": "1",
}


@dataclass(frozen=True)
class RepositorySpec:
    """What to build and where.

    Without `model` (a GGUF of the Llama architecture; for vLLM a folder of Hugging Face files) it
    is SmolLM2-135M-Instruct; without `tokenizer` (such a folder) it is the model's own. `script`
    tells the simulated engine what to answer, `vllm` how vLLM is started.
    """

    engine: Engine
    output: Path
    model: Path | None = None
    tokenizer: Path | None = None
    script: Path | None = None
    vllm: VllmSpec = field(default_factory=VllmSpec)


@dataclass(frozen=True)
class Repository:
    """A repository on disk; `changed` is False where it was already there as asked."""

    path: Path
    manifest: Manifest
    changed: bool

    @property
    def tokenizer_dir(self) -> Path:
        """The folder of Hugging Face files."""
        return self.path / _TOKENIZER

    @property
    def gateway_file(self) -> Path:
        """The models file for the gateway; paths in it are relative to it."""
        return self.path / _GATEWAY_FILE


def build(spec: RepositorySpec, progress: Progress = silent) -> Repository:
    """Return the repository that `spec` asks for, written anew unless it is already there.

    Raises BuildError where it cannot be built, or where `spec.output` holds something else.
    """
    output = spec.output.absolute()
    inputs = _inputs(spec)
    with locked(output.parent):
        existing = _existing(output)
        if existing and existing.inputs == inputs and existing.is_whole(output):
            return Repository(output, existing, changed=False)
        with replacing(output) as staging:
            manifest = _write(spec, inputs, staging, progress)
            manifest.write(staging)
        return Repository(output, manifest, changed=True)


def _existing(output: Path) -> Manifest | None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    return Manifest.read(output)


def _write(
    spec: RepositorySpec, inputs: Mapping[str, Any], folder: Path, progress: Progress
) -> Manifest:
    model, tokenizer = _sources(spec, progress)
    variables = {"engine": spec.engine, "max_seq_len": str(_context_length(spec, model))}
    if spec.engine == "vllm":
        variables |= spec.vllm.variables()
    render(templates_folder(), folder, PYTHON_VARIABLES | variables)
    if spec.engine == "vllm":
        config = folder / TRITON_MODEL / "config.pbtxt"
        config.write_text(spec.vllm.config(config.read_text(encoding="utf-8")), encoding="utf-8")
    for config in folder.glob("*/config.pbtxt"):
        (config.parent / "1").mkdir(exist_ok=True)  # Triton wants one even where it holds nothing
    (folder / _TOKENIZER).mkdir()
    tokenizer.write_tokenizer(folder / _TOKENIZER)
    _tell_tokenizer(folder)
    length = _context_length(spec, model)
    gateway_file = _gateway_file(model.id, length, {**model.sampling, **tokenizer.sampling})
    (folder / _GATEWAY_FILE).write_text(gateway_file, encoding="utf-8")
    essence = _place_engine(spec, model, folder)
    files = describe(folder, progress)
    facts = ModelFacts(model.id, model.source, files[essence]["sha256"], length)
    return Manifest(spec.engine, facts, inputs, files, tool_versions())


def _tell_tokenizer(folder: Path) -> None:
    """Let the model tell its tokenizer, so that replicas with another one can be told apart."""
    digest = hashlib.sha256((folder / _TOKENIZER / "tokenizer.json").read_bytes()).hexdigest()
    config = folder / TRITON_MODEL / "config.pbtxt"
    config.write_text(config.read_text().replace("${tokenizer_sha256}", digest))


def _sources(
    spec: RepositorySpec, progress: Progress
) -> tuple[Weights | TokenizerFolder, Weights | TokenizerFolder]:
    """Return what the model and what the tokenizer are taken from."""
    folder = TokenizerFolder.find(spec.tokenizer) if spec.tokenizer else None
    if spec.engine == "vllm":
        checkpoint = _checkpoint(spec)
        return checkpoint, folder or checkpoint
    if folder and spec.engine == "simulated" and not spec.model:
        return folder, folder
    weights = Weights.find(spec.model, progress)
    return weights, folder or weights


def _checkpoint(spec: RepositorySpec) -> CheckpointFolder:
    if spec.model is None or not spec.model.is_dir():
        raise BuildError("vllm serves a folder of Hugging Face files: name it with --model")
    return CheckpointFolder.find(spec.model)


def _context_length(spec: RepositorySpec, model: Weights | TokenizerFolder) -> int:
    return spec.vllm.context_length(model.context_length)


def _place_engine(spec: RepositorySpec, model: Weights | TokenizerFolder, folder: Path) -> str:
    """Put what the engine runs in its place; return the file that identifies the model."""
    if spec.engine == "openvino" and isinstance(model, Weights):
        place(model.gguf.path, folder / _VERSION / "model.gguf")
        return f"{_VERSION}/model.gguf"
    if spec.engine == "vllm" and isinstance(model, CheckpointFolder):
        content = spec.vllm.file(model.path)
        (folder / _VERSION / "vllm.json").write_text(content, encoding="utf-8")
    if spec.script:
        shutil.copyfile(spec.script, folder / _VERSION / "simulator.json")
    return f"{_TOKENIZER}/tokenizer.json"


def _gateway_file(model_id: str, context_length: int, sampling: Sampling) -> str:
    entry = {
        "id": model_id,
        "tokenizer": _TOKENIZER,
        "triton": {"model": TRITON_MODEL},
        "max_model_len": context_length,
        **as_defaults(sampling),
    }
    return yaml.safe_dump({"models": [entry]}, sort_keys=False)


def _inputs(spec: RepositorySpec) -> dict[str, Any]:
    """Return everything that decides what a build writes, found without reading large files."""
    if spec.script and spec.engine != "simulated":
        raise BuildError("a script is only for the simulated engine")
    given = [path for path in (spec.model, spec.tokenizer, spec.script) if path]
    for path in given:
        if not path.exists():
            raise BuildError(f"{path} does not exist")
    return {
        "builder": version("triton-openai-gateway"),
        "templates": _digest(templates_folder()),
        "engine": spec.engine,
        "model": _stamps(spec.model) if spec.model else smollm2.WHEEL,
        "sampling": None if spec.model else smollm2.SAMPLING,
        "tokenizer": _stamps(spec.tokenizer) if spec.tokenizer else None,
        "script": _stamps(spec.script) if spec.script else None,
        "vllm": asdict(spec.vllm) if spec.engine == "vllm" else None,
    }


def _stamps(path: Path) -> dict[str, Any]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return {str(file.resolve()): stamp(file) for file in files if file.is_file()}


def _digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's source files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
