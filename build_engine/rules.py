"""What fields of a spec demand of one another. Each rule names the field it breaks on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from build_engine.errors import BuildError
from build_engine.versions import (
    GUIDED_DECODING_SINCE,
    MODEL_SINCE,
    QUANTIZATION_SINCE,
    SPECULATIVE_SINCE,
    flags_of,
)

if TYPE_CHECKING:
    from build_engine.spec import EngineSpec

Capability = tuple[int, int]
# The first compute capability with the instructions (NVIDIA's support matrix of TensorRT-LLM).
_NEEDS: dict[str, Capability] = {
    "int8_sq": (8, 0),
    "fp8": (8, 9),
    "w4a8_awq": (8, 9),
    "nvfp4": (10, 0),
}
_BFLOAT16: Capability = (8, 0)
_FP8_ACTIVATIONS = ("fp8", "w4a8_awq", "nvfp4")


def broken_rules(spec: EngineSpec) -> Iterator[str]:
    """Yield one line per rule that a spec breaks, its field first."""
    yield from _release(spec)
    yield from _parallel(spec)
    yield from _precision(spec)
    yield from _limits(spec)
    yield from _plugins(spec)
    yield from _serving(spec)
    yield from _speculative(spec)


def _release(spec: EngineSpec) -> Iterator[str]:
    try:
        release = spec.release
    except BuildError as error:
        yield str(error)
        return
    needed = {
        "model.shape": (spec.shape.template, MODEL_SINCE),
        "quantization.weights": (spec.quantization.weights, QUANTIZATION_SINCE),
        "speculative.mode": (spec.speculative.mode, SPECULATIVE_SINCE),
        "serving.guided_decoding": (
            spec.serving.guided_decoding,
            {"xgrammar": GUIDED_DECODING_SINCE},
        ),
    }
    for field, (value, since) in needed.items():
        if not release.has(since.get(value, "0")):
            yield (
                f"{field}: {value} needs TensorRT-LLM {since[value]} or newer, not {release.number}"
            )
    known = flags_of("trtllm-build", release)
    for name in ("reduce_fusion", "user_buffer"):
        if getattr(spec.plugins, name) and name not in known:
            yield f"plugins.{name}: trtllm-build {release.number} has no --{name}"


def _parallel(spec: EngineSpec) -> Iterator[str]:
    shape, parallel = spec.shape, spec.parallel
    if shape.num_kv_heads % parallel.tensor:
        yield (
            f"parallel.tensor: {parallel.tensor} must divide num_kv_heads "
            f"({shape.num_kv_heads} in {spec.model.shape})"
        )
    if shape.num_layers % parallel.pipeline:
        yield (
            f"parallel.pipeline: {parallel.pipeline} must divide num_layers "
            f"({shape.num_layers} in {spec.model.shape})"
        )


def _precision(spec: EngineSpec) -> Iterator[str]:
    has, quantization = spec.card.compute_capability, spec.quantization
    demands = {
        "quantization.weights": (quantization.weights, _NEEDS),
        "quantization.kv_cache": (quantization.kv_cache, {"fp8": _NEEDS["fp8"]}),
        "dtype": (spec.dtype, {"bfloat16": _BFLOAT16}),
    }
    for field, (value, needs) in demands.items():
        if has < needs.get(value, (0, 0)):
            yield (
                f"{field}: {value} needs compute capability {_dotted(needs[value])} or newer; "
                f"{spec.gpu} has {_dotted(has)}"
            )
    if quantization.kv_cache != "auto" and quantization.weights == "none":
        yield (
            f"quantization.kv_cache: {quantization.kv_cache} is calibrated together with the "
            "weights, which are not quantized"
        )


def _limits(spec: EngineSpec) -> Iterator[str]:
    limits, positions = spec.limits, spec.shape.max_positions
    if limits.max_seq_len > positions:
        yield (
            f"limits.max_seq_len: {limits.max_seq_len} is more than the model's {positions} "
            f"positions ({spec.model.shape})"
        )
    if limits.max_input_len >= limits.max_seq_len:
        yield (
            f"limits.max_input_len: {limits.max_input_len} must be less than max_seq_len "
            f"({limits.max_seq_len}), which counts the answer too"
        )
    per_step = limits.max_batch_size * limits.max_beam_width
    if limits.max_num_tokens < per_step:
        yield (
            f"limits.max_num_tokens: {limits.max_num_tokens} must be at least max_batch_size x "
            f"max_beam_width ({per_step}), a token of each in one step"
        )
    if not spec.serving.chunked_context and limits.max_num_tokens < limits.max_input_len:
        yield (
            f"limits.max_num_tokens: {limits.max_num_tokens} must be at least max_input_len "
            f"({limits.max_input_len}) where serving.chunked_context is off"
        )


def _plugins(spec: EngineSpec) -> Iterator[str]:
    plugins, quantization = spec.plugins, spec.quantization
    if plugins.gemm in ("fp8", "nvfp4") and plugins.gemm != quantization.weights:
        yield f"plugins.gemm: {plugins.gemm} needs quantization.weights {plugins.gemm}"
    both_fp8 = quantization.weights in _FP8_ACTIVATIONS and quantization.kv_cache == "fp8"
    if plugins.fp8_context_fmha and not both_fp8:
        yield (
            "plugins.fp8_context_fmha: needs an fp8 KV cache and one of "
            f"{', '.join(_FP8_ACTIVATIONS)} weights"
        )
    if plugins.paged_context_fmha and quantization.kv_cache == "int8":
        yield "plugins.paged_context_fmha: does not read an int8 KV cache"
    if plugins.reduce_fusion and spec.parallel.tensor == 1:
        yield "plugins.reduce_fusion: fuses the reduction of tensor parallelism, and tensor is 1"
    if plugins.user_buffer and not (plugins.reduce_fusion and quantization.weights == "fp8"):
        yield "plugins.user_buffer: needs reduce_fusion and quantization.weights fp8"


def _serving(spec: EngineSpec) -> Iterator[str]:
    if not spec.plugins.paged_context_fmha:
        for name in ("kv_cache_reuse", "chunked_context"):
            if getattr(spec.serving, name):
                yield f"serving.{name}: needs plugins.paged_context_fmha"


def _speculative(spec: EngineSpec) -> Iterator[str]:
    speculative = spec.speculative
    if (speculative.mode == "eagle") != (speculative.eagle is not None):
        yield "speculative.eagle: names the heads' weights where mode is eagle, and only there"
    if speculative.mode == "none":
        if speculative.max_draft_len:
            yield "speculative.max_draft_len: needs a mode"
        return
    if speculative.mode != "lookahead" and not speculative.max_draft_len:
        yield f"speculative.max_draft_len: mode {speculative.mode} needs one"
    if not spec.plugins.paged_context_fmha:
        yield f"speculative.mode: {speculative.mode} needs plugins.paged_context_fmha"
    if spec.limits.max_beam_width > 1:
        yield f"speculative.mode: {speculative.mode} needs limits.max_beam_width 1"


def _dotted(capability: Capability) -> str:
    return ".".join(map(str, capability))
