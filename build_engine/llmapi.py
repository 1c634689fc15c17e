"""The model repository that serves a spec's model with TensorRT-LLM's PyTorch backend.

NVIDIA's `llmapi` model is taken as Triton's container has it; written here is what it reads.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from build_engine.errors import BuildError
from build_engine.files import replacing
from build_engine.sampling import advised, as_defaults
from build_engine.spec import EngineSpec
from build_engine.weights import TokenizerFolder

_PARTS = ("config.pbtxt", "1/model.py", "1/model.yaml")


def model_yaml(spec: EngineSpec) -> str:
    """Return 1/model.yaml: arguments of tensorrt_llm.LLM, and what the model tells Triton.

    max_batch_size 0 is the model's own: it batches by itself, and its tensors have no batch
    dimension. Raises BuildError as `arguments` does, and for what this model does not do.
    """
    problems = list(problems_of(spec))
    if spec.lora is not None:
        problems.append("lora: is of engines; the llmapi model takes llm.lora_config")
    if spec.serving.max_queue_size:
        problems.append(
            "serving.max_queue_size: the llmapi model has no queue in Triton: leave it out"
        )
    if problems:
        raise BuildError("\n".join(problems))
    content = arguments(spec) | {"triton_config": {"max_batch_size": 0, "decoupled": True}}
    return yaml.safe_dump(content, sort_keys=False)


def arguments(spec: EngineSpec) -> dict[str, Any]:
    """Return the arguments of tensorrt_llm.LLM for a spec without `problems_of`.

    `llm` of the spec adds those that a spec has no words for. Raises BuildError where it decides
    what other fields have decided.
    """
    return _merged(_arguments(spec), spec.llm, "llm")


def problems_of(spec: EngineSpec) -> Iterator[str]:
    """Yield what the PyTorch backend does not take from a spec, so that nothing is dropped."""
    quantization = spec.quantization
    if spec.speculative.mode != "none":
        yield (
            f"speculative.mode: {spec.speculative.mode} is of engines; the PyTorch backend takes "
            "llm.speculative_config (Eagle3, NGram, DraftTarget, MTP)"
        )
    if quantization.weights != "none" and not quantization.published:
        known = _PUBLISHED.get((spec.model.shape, quantization.weights), "none is known here")
        yield (
            "quantization.weights: the PyTorch backend loads weights that are quantized already; "
            f"name such a model, with quantization.published: true ({known})"
        )
    if quantization.kv_cache == "int8":
        yield "quantization.kv_cache: the PyTorch backend has no int8 KV cache: fp8 or auto"
    if spec.parallel.num_hosts > 1:
        yield "parallel: several hosts need trtllm-llmapi-launch around tritonserver, under srun"


# NVIDIA's quantized models of the same shapes, on the hub.
_PUBLISHED = {
    ("llama-3.1-8b", "fp8"): "nvidia/Llama-3.1-8B-Instruct-FP8",
    ("llama-3.1-70b", "fp8"): "nvidia/Llama-3.1-70B-Instruct-FP8",
    ("llama-3.1-405b", "fp8"): "nvidia/Llama-3.1-405B-Instruct-FP8",
    ("llama-3.3-70b", "fp8"): "nvidia/Llama-3.3-70B-Instruct-FP8",
    ("llama-3.1-8b", "nvfp4"): "nvidia/Llama-3.1-8B-Instruct-FP4",
    ("llama-3.3-70b", "nvfp4"): "nvidia/Llama-3.3-70B-Instruct-FP4",
    ("llama-3.1-405b", "nvfp4"): "nvidia/Llama-3.1-405B-Instruct-FP4",
}


def _arguments(spec: EngineSpec) -> dict[str, Any]:
    limits, serving = spec.limits, spec.serving
    return {
        "model": spec.model.id,
        "revision": spec.model.revision,
        "tokenizer_revision": spec.model.revision,
        "backend": "pytorch",
        "dtype": spec.dtype,
        "tensor_parallel_size": spec.parallel.tensor,
        "pipeline_parallel_size": spec.parallel.pipeline,
        "gpus_per_node": spec.parallel.gpus_per_host,
        "max_batch_size": limits.max_batch_size,
        "max_input_len": limits.max_input_len,
        "max_seq_len": limits.max_seq_len,
        "max_num_tokens": limits.max_num_tokens,
        "max_beam_width": limits.max_beam_width,
        "enable_chunked_prefill": serving.chunked_context,
        "kv_cache_config": {
            "free_gpu_memory_fraction": serving.kv_cache_fraction,
            "enable_block_reuse": serving.kv_cache_reuse,
            "host_cache_size": serving.kv_cache_host_bytes,
            "dtype": spec.quantization.kv_cache,
        },
        "scheduler_config": {"capacity_scheduler_policy": serving.scheduler.upper()},
        **({"guided_decoding_backend": "xgrammar"} if spec.is_guided else {}),
    }


def _merged(ours: dict[str, Any], more: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return both together. Raises BuildError where an argument is decided twice."""
    for name, value in more.items():
        if isinstance(ours.get(name), dict) and isinstance(value, Mapping):
            ours[name] = _merged(ours[name], value, f"{where}.{name}")
        elif name in ours and ours[name] != value:
            raise BuildError(
                f"{where}.{name}: the spec's own fields make it {ours[name]!r}; change those"
            )
        else:
            ours[name] = value
    return ours


def write_repository(
    spec: EngineSpec, output: Path, template: Path, tokenizer: Path, triton: str
) -> None:
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
        (staging / "gateway.yaml").write_text(
            _gateway_file(spec, triton, tokenizer), encoding="utf-8"
        )


def _is_ours(folder: Path) -> bool:
    return (folder / "gateway.yaml").is_file() and (folder / "tensorrt_llm" / "1").is_dir()


def _gateway_file(spec: EngineSpec, triton: str, tokenizer: Path) -> str:
    entry = {
        "id": spec.model.name,
        "tokenizer": "tensorrt_llm/tokenizer",
        "triton": {"address": triton, "model": "tensorrt_llm"},
        "template": spec.shape.template,
        "max_model_len": spec.limits.max_seq_len,
        **as_defaults(advised(tokenizer)),
    }
    return yaml.safe_dump({"models": [entry]}, sort_keys=False)
