"""What fields of a spec demand of one another. Each rule names the field it breaks on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from build_engine.drafts import tree_problems
from build_engine.versions import (
    ARCHITECTURES,
    GUIDED_DECODING_SINCE,
    MODEL_SINCE,
    QUANTIZATION_SINCE,
    SPECULATIVE_SINCE,
    W4A8_ATTENTION_SINCE,
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
# builder.py at 008b2b8 refuses them from compute capability 10.0 on, below 12.0.
_NOT_ON_BLACKWELL = ("int8_sq", "int4_awq", "w4a8_awq")
_EAGLE_MOST_BATCH, _EAGLE_MOST_DRAFTS = 512, 256


def broken_rules(spec: EngineSpec) -> Iterator[str]:
    """Yield one line per rule that a spec breaks, its field first."""
    for rule in RULES:
        yield from rule(spec)


def broken_rules_of_part(spec: EngineSpec) -> Iterator[str]:
    """Yield the same for a spec that lacks fields: a rule that needs one of them is passed over."""
    for rule in RULES:
        try:
            yield from rule(spec)
        except AttributeError:
            continue


def _since(spec: EngineSpec) -> Iterator[str]:
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
        if not spec.release.has(since.get(value, "0")):
            yield (
                f"{field}: {value} needs TensorRT-LLM {since[value]} or newer, not "
                f"{spec.tensorrt_llm}"
            )


def _flags(spec: EngineSpec) -> Iterator[str]:
    known, plugins = flags_of("trtllm-build", spec.release), spec.plugins
    for name in ("reduce_fusion", "user_buffer"):
        if getattr(plugins, name) and name not in known:
            yield f"plugins.{name}: trtllm-build {spec.tensorrt_llm} has no --{name}"
    for name, value in (("gpt_attention", plugins.gpt_attention), ("gemm", plugins.gemm)):
        takes = known[f"{name}_plugin"].values
        if value not in ("auto", *takes):
            yield (
                f"plugins.{name}: trtllm-build {spec.tensorrt_llm} takes {', '.join(takes)}, not "
                f"{value}"
            )
    if spec.quantization.calibration is not None and not spec.release.has("0.11.0"):
        yield (
            f"quantization.calibration: quantize.py of {spec.tensorrt_llm} takes no data of one's "
            "own; 0.11.0 and newer do"
        )


def _architecture(spec: EngineSpec) -> Iterator[str]:
    found = ARCHITECTURES[spec.card.compute_capability[0]]
    if not spec.release.has(found.since, found.before):
        which = f"up to, not with, {found.before}" if found.before else f"from {found.since} on"
        yield (
            f"gpu: {spec.gpu} ({found.name}) has kernels in TensorRT-LLM {which}, not in "
            f"{spec.tensorrt_llm}"
        )


def _tensor(spec: EngineSpec) -> Iterator[str]:
    shape, tensor = spec.shape, spec.parallel.tensor
    if shape.num_kv_heads % tensor and tensor % shape.num_kv_heads:
        yield (
            f"parallel.tensor: {tensor} must divide num_kv_heads ({shape.num_kv_heads} in "
            f"{spec.model.shape}), or be a multiple of it"
        )
    elif shape.num_heads % tensor:
        yield (
            f"parallel.tensor: {tensor} must divide num_heads ({shape.num_heads} in "
            f"{spec.model.shape})"
        )


def _pipeline(spec: EngineSpec) -> Iterator[str]:
    shape, pipeline = spec.shape, spec.parallel.pipeline
    if shape.num_layers % pipeline:
        yield (
            f"parallel.pipeline: {pipeline} must divide num_layers "
            f"({shape.num_layers} in {spec.model.shape})"
        )


def _hosts(spec: EngineSpec) -> Iterator[str]:
    parallel = spec.parallel
    if parallel.num_hosts > 1 and parallel.world_size % parallel.gpus_per_host:
        yield (
            f"parallel.gpus_per_host: {parallel.world_size} ranks do not fill hosts of "
            f"{parallel.gpus_per_host} GPUs"
        )


def _instructions(spec: EngineSpec) -> Iterator[str]:
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


def _blackwell(spec: EngineSpec) -> Iterator[str]:
    if not (10, 0) <= spec.card.compute_capability < (12, 0):
        return
    if spec.quantization.weights in _NOT_ON_BLACKWELL:
        yield (
            f"quantization.weights: trtllm-build refuses {spec.quantization.weights} on {spec.gpu} "
            "(INT8 and INT4 are not for compute capability 10): fp8 or nvfp4 are"
        )
    if spec.quantization.kv_cache == "int8":
        yield f"quantization.kv_cache: trtllm-build refuses int8 on {spec.gpu}: fp8 is for it"


def _w4a8(spec: EngineSpec) -> Iterator[str]:
    is_ada = spec.card.compute_capability == (8, 9)
    if spec.quantization.weights != "w4a8_awq" or spec.dtype != "bfloat16" or not is_ada:
        return
    if not spec.release.has("0.16.0"):
        yield (
            f"dtype: w4a8_awq of bfloat16 on {spec.gpu} needs TensorRT-LLM 0.16.0 or newer, not "
            f"{spec.tensorrt_llm}: float16 does without"
        )


def _kv_cache(spec: EngineSpec) -> Iterator[str]:
    quantization = spec.quantization
    if quantization.published and quantization.weights == "none":
        yield "quantization.published: says how the hub's weights are stored; name it in weights"
    if quantization.kv_cache != "auto" and quantization.weights == "none":
        yield (
            f"quantization.kv_cache: {quantization.kv_cache} is calibrated together with the "
            "weights, which are not quantized"
        )


def _lengths(spec: EngineSpec) -> Iterator[str]:
    limits = spec.limits
    if limits.max_input_len >= limits.max_seq_len:
        yield (
            f"limits.max_input_len: {limits.max_input_len} must be less than max_seq_len "
            f"({limits.max_seq_len}), which counts the answer too"
        )


def _positions(spec: EngineSpec) -> Iterator[str]:
    limits, positions = spec.limits, spec.shape.max_positions
    if limits.max_seq_len > positions:
        yield (
            f"limits.max_seq_len: {limits.max_seq_len} is more than the model's {positions} "
            f"positions ({spec.model.shape})"
        )


def _step(spec: EngineSpec) -> Iterator[str]:
    limits = spec.limits
    per_step = limits.max_batch_size * limits.max_beam_width
    if limits.max_num_tokens < per_step:
        yield (
            f"limits.max_num_tokens: {limits.max_num_tokens} must be at least max_batch_size x "
            f"max_beam_width ({per_step}), a token of each in one step"
        )


def _unchunked(spec: EngineSpec) -> Iterator[str]:
    limits = spec.limits
    if not spec.serving.chunked_context and limits.max_num_tokens < limits.max_input_len:
        yield (
            f"limits.max_num_tokens: {limits.max_num_tokens} must be at least max_input_len "
            f"({limits.max_input_len}) where serving.chunked_context is off"
        )


def _gemm(spec: EngineSpec) -> Iterator[str]:
    gemm = spec.plugins.gemm
    if gemm in ("fp8", "nvfp4") and gemm != spec.quantization.weights:
        yield f"plugins.gemm: {gemm} needs quantization.weights {gemm}"


def _fp8_attention(spec: EngineSpec) -> Iterator[str]:
    """builder.py: up to 0.16 a paged context of an fp8 KV cache needs fp8 weights, else the build
    fails; later, w4a8 and nvfp4 do too, and else it is turned off without a word."""
    quantization, plugins = spec.quantization, spec.plugins
    able = [
        weights
        for weights in _FP8_ACTIVATIONS
        if weights != "w4a8_awq" or spec.release.has(W4A8_ATTENTION_SINCE)
    ]
    can = quantization.weights in able and quantization.kv_cache == "fp8"
    if plugins.fp8_context_fmha and not can:
        yield (
            f"plugins.fp8_context_fmha: needs an fp8 KV cache and one of {', '.join(able)} weights"
        )
    if plugins.paged_context_fmha and quantization.kv_cache == "fp8" and not can:
        yield (
            f"plugins.paged_context_fmha: an fp8 KV cache in pages needs {' or '.join(able)} "
            f"weights in TensorRT-LLM {spec.tensorrt_llm}, not {quantization.weights}"
        )


def _paged_attention(spec: EngineSpec) -> Iterator[str]:
    kv_cache = spec.quantization.kv_cache
    if not spec.plugins.paged_context_fmha:
        return
    if kv_cache == "int8":
        yield "plugins.paged_context_fmha: does not read an int8 KV cache"
    elif kv_cache == "fp8" and not spec.release.has("0.10.0"):
        yield (
            f"plugins.paged_context_fmha: does not read an fp8 KV cache in {spec.tensorrt_llm}; "
            "0.10.0 and newer do"
        )


def _fusions(spec: EngineSpec) -> Iterator[str]:
    plugins = spec.plugins
    if plugins.reduce_fusion and spec.parallel.tensor == 1:
        yield "plugins.reduce_fusion: fuses the reduction of tensor parallelism, and tensor is 1"
    if plugins.reduce_fusion and spec.speculative.mode == "eagle":
        yield "plugins.reduce_fusion: trtllm-build turns it off for EAGLE"
    if plugins.user_buffer and not (plugins.reduce_fusion and spec.quantization.weights == "fp8"):
        yield "plugins.user_buffer: needs reduce_fusion and quantization.weights fp8"


def _serving(spec: EngineSpec) -> Iterator[str]:
    if not spec.plugins.paged_context_fmha:
        for name in ("kv_cache_reuse", "chunked_context"):
            if getattr(spec.serving, name):
                yield f"serving.{name}: needs plugins.paged_context_fmha"


def _drafting(spec: EngineSpec) -> Iterator[str]:
    speculative = spec.speculative
    if speculative.mode == "none":
        if speculative.max_draft_len:
            yield "speculative.max_draft_len: needs a mode"
        return
    if speculative.mode == "eagle" and not speculative.max_draft_len:
        yield "speculative.max_draft_len: mode eagle needs one"
    if not spec.plugins.paged_context_fmha:
        yield f"speculative.mode: {speculative.mode} needs plugins.paged_context_fmha"
    if spec.limits.max_beam_width > 1:
        yield f"speculative.mode: {speculative.mode} needs limits.max_beam_width 1"


def _eagle_fields(spec: EngineSpec) -> Iterator[str]:
    speculative = spec.speculative
    if (speculative.mode == "eagle") != (speculative.eagle is not None):
        yield "speculative.eagle: names the heads' weights where mode is eagle, and only there"
    if speculative.eagle_choices and speculative.mode != "eagle":
        yield "speculative.eagle_choices: are for mode eagle"


def _eagle(spec: EngineSpec) -> Iterator[str]:
    """examples/eagle/README.md and builder.py (008b2b8): FP16 and BF16, no pipeline, and bounds."""
    speculative, limits = spec.speculative, spec.limits
    if speculative.mode != "eagle":
        return
    if spec.quantization.weights != "none":
        yield (
            f"quantization.weights: {spec.quantization.weights} is lost with EAGLE, whose "
            "converter takes float16 and bfloat16 alone"
        )
    if spec.parallel.pipeline > 1:
        yield "parallel.pipeline: EAGLE has no pipeline parallelism"
    if limits.max_batch_size > _EAGLE_MOST_BATCH:
        yield (
            f"limits.max_batch_size: {limits.max_batch_size} is more than the {_EAGLE_MOST_BATCH} "
            "that EAGLE takes"
        )
    if speculative.max_draft_len > _EAGLE_MOST_DRAFTS:
        yield (
            f"speculative.max_draft_len: {speculative.max_draft_len} is more than the "
            f"{_EAGLE_MOST_DRAFTS} that EAGLE takes"
        )


def _eagle_tree(spec: EngineSpec) -> Iterator[str]:
    if spec.speculative.mode == "eagle":
        yield from tree_problems(spec.speculative)


def _dotted(capability: Capability) -> str:
    return ".".join(map(str, capability))


RULES: tuple[Callable[[EngineSpec], Iterator[str]], ...] = (
    _since,
    _flags,
    _architecture,
    _tensor,
    _pipeline,
    _hosts,
    _instructions,
    _blackwell,
    _w4a8,
    _kv_cache,
    _lengths,
    _positions,
    _step,
    _unchunked,
    _gemm,
    _fp8_attention,
    _paged_attention,
    _fusions,
    _serving,
    _drafting,
    _eagle_fields,
    _eagle,
    _eagle_tree,
)
