"""The model repository that serves a spec's model with TensorRT-LLM's PyTorch backend.

NVIDIA's `llmapi` model is taken as Triton's container has it; written here is what it reads.
"""

import shutil
from pathlib import Path
from typing import Any

import yaml

from build_engine.errors import BuildError
from build_engine.files import replacing
from build_engine.spec import EngineSpec
from build_engine.weights import TokenizerFolder

_PARTS = ("config.pbtxt", "1/model.py", "1/model.yaml")


def model_yaml(spec: EngineSpec) -> str:
    """Return 1/model.yaml: arguments of tensorrt_llm.LLM, and what the model tells Triton.

    max_batch_size 0 is the model's own: it batches by itself, and its tensors have no batch
    dimension. Raises BuildError for what this backend does not take from a spec.
    """
    if spec.speculative.mode != "none" or spec.lora is not None:
        raise BuildError("speculative.mode, lora: not written for llmapi; leave them out")
    if spec.quantization.weights != "none":
        raise BuildError(
            "quantization.weights: the PyTorch backend loads weights that are quantized already; "
            "name such a model in the spec, with weights: none"
        )
    limits, serving = spec.limits, spec.serving
    content: dict[str, Any] = {
        "model": spec.model.id,
        "revision": spec.model.revision,
        "tokenizer_revision": spec.model.revision,
        "backend": "pytorch",
        "dtype": spec.dtype,
        "tensor_parallel_size": spec.parallel.tensor,
        "pipeline_parallel_size": spec.parallel.pipeline,
        "max_batch_size": limits.max_batch_size,
        "max_input_len": limits.max_input_len,
        "max_seq_len": limits.max_seq_len,
        "max_num_tokens": limits.max_num_tokens,
        "enable_chunked_prefill": serving.chunked_context,
        "kv_cache_config": {
            "free_gpu_memory_fraction": serving.kv_cache_fraction,
            "enable_block_reuse": serving.kv_cache_reuse,
        },
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    return yaml.safe_dump(content, sort_keys=False)


def write_repository(spec: EngineSpec, output: Path, template: Path, tokenizer: Path) -> None:
    """Write the repository; its gateway.yaml goes with it.

    Raises BuildError where NVIDIA's model is not in `template`, or `output` holds something else.
    """
    missing = [name for name in _PARTS if not (template / name).is_file()]
    if missing:
        raise BuildError(
            f"{template} lacks {', '.join(missing)}: run this inside {spec.release.container}, or "
            "give NVIDIA's llmapi/tensorrt_llm model with --llmapi-model"
        )
    if output.exists() and any(output.iterdir()) and not _is_ours(output):
        raise BuildError(f"{output} is not a model repository built by this tool")
    content = model_yaml(spec)
    with replacing(output.absolute()) as staging:
        model = staging / "tensorrt_llm"
        shutil.copytree(template, model, ignore=shutil.ignore_patterns("__pycache__"))
        (model / "1" / "model.yaml").write_text(content, encoding="utf-8")
        (model / "tokenizer").mkdir()
        TokenizerFolder.find(tokenizer).write_tokenizer(model / "tokenizer")
        (staging / "gateway.yaml").write_text(_gateway_file(spec), encoding="utf-8")


def _is_ours(folder: Path) -> bool:
    return (folder / "gateway.yaml").is_file() and (folder / "tensorrt_llm" / "1").is_dir()


def _gateway_file(spec: EngineSpec) -> str:
    entry = {
        "id": spec.model.name,
        "tokenizer": "tensorrt_llm/tokenizer",
        "triton": {"model": "tensorrt_llm"},
        "template": spec.shape.template,
        "max_model_len": spec.limits.max_seq_len,
    }
    return yaml.safe_dump({"models": [entry]}, sort_keys=False)
