"""What trtllm-build makes of what it is asked for: it changes limits, and its config.json has the
changed ones. Judges nothing.

Read in tensorrt_llm/builder.py and tensorrt_llm/_common.py of TensorRT-LLM: 0.9.0, 0.10.0 and
0.11.0, the snapshots to 0.13.0.dev2024090300, and builder.py at 008b2b8, _common.py at 0fccc5b.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from build_engine.spec import EngineSpec

_FP8_ATTENTION = ("fp8", "w4a8_awq", "nvfp4")
LOGITS_TYPES = {"float16": "TYPE_FP16", "float32": "TYPE_FP32"}


@dataclass(frozen=True)
class Built:
    """The limits that an engine has, in tokens."""

    max_seq_len: int
    max_num_tokens: int


@dataclass(frozen=True)
class EngineFacts:
    """What a repository takes from its engine: tokens of a KV block, and the type of logits, as
    Triton's configs name it."""

    tokens_per_block: int
    logits: str

    @classmethod
    def read(cls, config: Mapping[str, Any], spec: EngineSpec) -> EngineFacts:
        """Return the facts in an engine's config.json; what it does not say is as expected."""
        wanted = expected_facts(spec)
        block = _at(config, "build_config", "plugin_config", "tokens_per_block")
        logits = _at(config, "pretrained_config", "logits_dtype")
        return cls(
            block if isinstance(block, int) and block > 0 else wanted.tokens_per_block,
            LOGITS_TYPES.get(logits, wanted.logits) if isinstance(logits, str) else wanted.logits,
        )


def expected_facts(spec: EngineSpec) -> EngineFacts:
    """Return the facts of an engine that is still to be built.

    Converted checkpoints say float32; quantized ones of bfloat16 models float16, and the others
    their own type (Model-Optimizer, modelopt/torch/export/tensorrt_llm_utils.py at 0.23.0).
    """
    is_quantized = spec.quantization.weights != "none"
    logits = "float32" if not is_quantized or spec.dtype == "float32" else "float16"
    return EngineFacts(spec.release.tokens_per_block, LOGITS_TYPES[logits])


def built_limits(spec: EngineSpec) -> Built:
    """Return the limits of the engine that trtllm-build makes of a spec.

    max_num_tokens is cut to what a whole batch can hold: of prompts up to 0.10, of sequences from
    0.11 on; and is at least a block of the KV cache. From 0.11 on drafts lengthen max_seq_len, and
    max_num_tokens takes those of a whole batch.
    """
    limits, release, speculative = spec.limits, spec.release, spec.speculative
    longest = limits.max_seq_len if release.has("0.11.0") else limits.max_input_len
    num_tokens = min(limits.max_num_tokens, longest * limits.max_batch_size)
    num_tokens = max(num_tokens, release.tokens_per_block)
    if speculative.mode == "none":
        return Built(limits.max_seq_len, num_tokens)
    drafted = speculative.draft_len
    layers = speculative.eagle_layers if speculative.mode == "eagle" else 0
    return Built(
        limits.max_seq_len + drafted + layers,
        max(num_tokens, limits.max_batch_size * (drafted + 1)),
    )


def notes(spec: EngineSpec) -> Iterator[str]:
    """Yield what an engine will do otherwise than its spec says, and what callers should know."""
    limits, built = spec.limits, built_limits(spec)
    if built.max_num_tokens != limits.max_num_tokens:
        yield (
            f"limits.max_num_tokens: trtllm-build makes {built.max_num_tokens:,} of "
            f"{limits.max_num_tokens:,}, {_reason(built.max_num_tokens > limits.max_num_tokens)}"
        )
    if built.max_seq_len != limits.max_seq_len:
        yield (
            f"limits.max_seq_len: the engine has {built.max_seq_len:,}, drafts included; requests "
            f"keep {limits.max_seq_len:,}"
        )
    yield from _attention_notes(spec)
    if spec.speculative.mode == "eagle":
        yield (
            "speculative.mode: Triton's backend runs EAGLE greedily: temperature, top_p and seed "
            "of requests have no effect"
        )
    parallel = spec.parallel
    if parallel.num_hosts > 1:
        yield (
            f"parallel: {parallel.num_hosts} hosts of {parallel.gpus_per_host} GPUs: launch a rank "
            "per GPU with mpirun, all of them on the same folder; docker-compose.yml serves one "
            "host alone"
        )
    quantization = spec.quantization
    is_calibrated = quantization.weights != "none" and not quantization.published
    if is_calibrated and quantization.calibration is None:
        yield (
            "quantization.calibration: not pinned, so quantize.py fetches cnn_dailymail as it is "
            "on that day"
        )
    if not spec.release.is_final:
        yield (
            f"tensorrt_llm: no container holds {spec.tensorrt_llm}; what is known of it is that of "
            "the release it led to. Install it yourself, with the scripts of its own commit"
        )


def _attention_notes(spec: EngineSpec) -> Iterator[str]:
    has_fp8 = spec.quantization.kv_cache == "fp8" and spec.quantization.weights in _FP8_ATTENTION
    plugins = spec.plugins
    if has_fp8 and plugins.paged_context_fmha and not plugins.fp8_context_fmha:
        yield "plugins.fp8_context_fmha: trtllm-build turns it on, for an fp8 KV cache in pages"


def _reason(is_raised: bool) -> str:
    return "a batch's drafts, or a KV block" if is_raised else "all that a batch can hold"


def _at(config: object, *names: str) -> object:
    for name in names:
        config = config.get(name) if isinstance(config, Mapping) else None
    return config
