"""What trtllm-build writes into config.json, by what NVIDIA's source does; it compiles nothing.

Followed step by step: `_init_max_seq_len` and `build` of tensorrt_llm/builder.py and
`check_max_num_tokens` of tensorrt_llm/_common.py in NVIDIA/TensorRT-LLM, as they are in the
snapshots 0.9.0.dev2024040900 (035b99e), 0.10.0.dev2024050700 (89ba1b1), 0.11.0.dev2024062500
(9691e12), 0.13.0.dev2024090300 (78f5c29), and builder.py at 008b2b8 (after 0.17). The numbers come
from there, not from build_engine.
"""

from collections.abc import Mapping
from typing import Any

Version = tuple[int, ...]
# SpeculativeDecodingMode, an IntFlag: JSON has its number.
MODES = {None: 1, "draft_tokens_external": 2, "medusa": 4, "lookahead_decoding": 8, "eagle": 32}
FP8_ATTENTION = ("FP8", "W4A8_AWQ", "NVFP4")
INT_WEIGHTS = ("W8A8_SQ_PER_CHANNEL", "W4A16_AWQ", "W4A8_AWQ")


class BuildRefused(Exception):
    """What the source raises, in its words."""


def engine_config(
    checkpoint: Mapping[str, Any], number: str, arguments: Mapping[str, Any], sm: int = 90
) -> dict[str, Any]:
    """Return config.json of the engine of a checkpoint, for a GPU of SM `sm`."""
    version = tuple(int(part) for part in number.split(".")[:3])
    plugins = _plugins(checkpoint, version, arguments)
    build = _build(version, arguments)
    _init_lengths(build, plugins, version)
    _reduce_fusion(checkpoint, plugins)
    if version >= (0, 11, 0):
        _drafts(checkpoint, build)
    _attention(checkpoint, plugins, version, sm)
    _blackwell(checkpoint, sm)
    _eagle(build, plugins)
    return {
        "version": number,
        "pretrained_config": dict(checkpoint),
        "build_config": {**build, "plugin_config": plugins},
    }


def _build(version: Version, given: Mapping[str, Any]) -> dict[str, Any]:
    build = {
        "max_input_len": int(given.get("max_input_len", 1024)),
        "max_batch_size": int(given["max_batch_size"]),
        "max_beam_width": int(given.get("max_beam_width", 1)),
        "max_num_tokens": int(given["max_num_tokens"]),
        "max_draft_len": int(given.get("max_draft_len", 0)),
        "speculative_decoding_mode": MODES[given.get("speculative_decoding_mode")],
    }
    if version >= (0, 11, 0):
        return build | {"max_seq_len": int(given["max_seq_len"])}
    return build | {"max_output_len": int(given["max_output_len"])}


def _plugins(
    checkpoint: Mapping[str, Any], version: Version, given: Mapping[str, Any]
) -> dict[str, Any]:
    flags = (
        "remove_input_padding", "context_fmha", "use_paged_context_fmha", "use_fp8_context_fmha",
        "multiple_profiles", "reduce_fusion", "user_buffer",
    )  # fmt: skip
    kinds = ("gpt_attention_plugin", "gemm_plugin", "lora_plugin")
    chosen = {name: given.get(name) for name in kinds}
    return {
        "dtype": checkpoint["dtype"],
        **{name: given.get(name) == "enable" for name in flags},
        **{name: _plugin(value, checkpoint) for name, value in chosen.items()},
        "paged_kv_cache": True,
        "tokens_per_block": 128 if version < (0, 10) else 64 if version < (0, 16) else 32,
    }


def _plugin(value: str | None, checkpoint: Mapping[str, Any]) -> str | None:
    if value in (None, "disable"):
        return None
    return str(checkpoint["dtype"]) if value == "auto" else value


def _init_lengths(build: dict[str, Any], plugins: Mapping[str, Any], version: Version) -> None:
    """check_max_num_tokens, with padding removed and fused attention."""
    longest = build["max_input_len"] if version < (0, 11, 0) else build["max_seq_len"]
    whole = longest * build["max_batch_size"]
    if build["max_num_tokens"] > whole:
        build["max_num_tokens"] = whole
    if build["max_num_tokens"] < plugins["tokens_per_block"]:
        build["max_num_tokens"] = plugins["tokens_per_block"]


def _reduce_fusion(checkpoint: Mapping[str, Any], plugins: dict[str, Any]) -> None:
    is_llama = checkpoint["architecture"] == "LlamaForCausalLM"
    if checkpoint["mapping"]["tp_size"] == 1 or not is_llama:
        plugins["reduce_fusion"] = False
    if not plugins["reduce_fusion"]:
        plugins["user_buffer"] = False


def _drafts(checkpoint: Mapping[str, Any], build: dict[str, Any]) -> None:
    if build["max_draft_len"] == 0:
        build["max_draft_len"] = checkpoint.get("max_draft_len", 0)
    if build["speculative_decoding_mode"] == MODES[None]:
        return
    build["max_seq_len"] += build["max_draft_len"]
    if build["speculative_decoding_mode"] == MODES["eagle"]:
        build["max_seq_len"] += checkpoint["num_eagle_layers"]
    least = build["max_batch_size"] * (build["max_draft_len"] + 1)
    build["max_num_tokens"] = max(build["max_num_tokens"], least)


def _attention(
    checkpoint: Mapping[str, Any], plugins: dict[str, Any], version: Version, sm: int
) -> None:
    quantization = checkpoint["quantization"]
    weights, kv_cache = quantization["quant_algo"], quantization["kv_cache_quant_algo"]
    is_paged = plugins["use_paged_context_fmha"]
    if version < (0, 10, 0):
        if is_paged and kv_cache:
            raise BuildRefused("Paged Context FMHA doesn't work with fp8/int8 kv cache currently.")
        return
    if version < (0, 17, 0):
        if is_paged and kv_cache == "FP8" and weights != "FP8":
            raise BuildRefused(
                "FP8 Paged Context FMHA only works with fp8 quantization workflow currently."
            )
        if is_paged and kv_cache == "INT8":
            raise BuildRefused("Paged Context FMHA doesn't work with int8 kv cache currently.")
        plugins["use_fp8_context_fmha"] |= is_paged and kv_cache == "FP8"
        return
    if weights not in FP8_ATTENTION or sm < 89:
        plugins["use_fp8_context_fmha"] = False
        plugins["use_paged_context_fmha"] &= kv_cache != "FP8"
    elif is_paged:
        plugins["use_fp8_context_fmha"] = kv_cache == "FP8"
    plugins["use_paged_context_fmha"] &= kv_cache != "INT8"


def _blackwell(checkpoint: Mapping[str, Any], sm: int) -> None:
    quantization = checkpoint["quantization"]
    is_int = quantization["quant_algo"] in INT_WEIGHTS
    if 100 <= sm < 120 and (is_int or quantization["kv_cache_quant_algo"] == "INT8"):
        raise BuildRefused("INT8/INT4 quantization is not supported on SM>=100.")


def _eagle(build: Mapping[str, Any], plugins: dict[str, Any]) -> None:
    if build["speculative_decoding_mode"] != MODES["eagle"]:
        return
    if build["max_batch_size"] > 512:
        raise BuildRefused("Max batch size > 512 is not supported for EAGLE")
    if build["max_draft_len"] > 256:
        raise BuildRefused("Max draft len > 256 is not supported for EAGLE")
    plugins["use_paged_context_fmha"] = True
