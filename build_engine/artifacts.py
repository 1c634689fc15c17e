"""Checkpoints and engines on disk, held against their spec. Makes neither."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from build_engine.outcome import built_limits
from build_engine.spec import EngineSpec
from build_engine.versions import parse_version

_CHECKPOINT_ALGORITHMS = {
    "none": None,
    "fp8": "FP8",
    "int8_sq": "W8A8_SQ_PER_CHANNEL",
    "int4_awq": "W4A16_AWQ",
    "w4a8_awq": "W4A8_AWQ",
    "nvfp4": "NVFP4",
}
_KV_ALGORITHMS = {"auto": None, "fp8": "FP8", "int8": "INT8"}


def same_release(found: str, wanted: str) -> bool:
    """Tell whether a version is of the release that is wanted: by the first three numbers, or by
    all of its name where that is a snapshot (0.10.0.dev2024042300)."""
    if any(mark in wanted for mark in ("dev", "rc")):
        return found == wanted
    return parse_version(found)[:3] == parse_version(wanted)[:3]


def checkpoint_problems(spec: EngineSpec, folder: Path) -> Iterator[str]:
    """Yield what is wrong with a TensorRT-LLM checkpoint of a spec."""
    config = read_json(folder / "config.json")
    if config is None:
        yield f"{folder / 'config.json'} is missing or no JSON"
        return
    yield from _differences("checkpoint", config, _expected_model(spec))
    yield from rank_problems(folder, "rank{}.safetensors", spec.parallel.world_size)


def engine_problems(spec: EngineSpec, folder: Path) -> Iterator[str]:
    """Yield what is wrong with an engine of a spec: config.json, version, files of the ranks."""
    config = read_json(folder / "config.json")
    if config is None:
        yield f"{folder / 'config.json'} is missing or no JSON"
        return
    version = str(config.get("version"))
    if not same_release(version, spec.tensorrt_llm):
        yield (
            f"engine: built by TensorRT-LLM {version}, but {spec.release.container} has "
            f"{spec.tensorrt_llm} and loads only its own"
        )
    yield from _differences("engine", config.get("pretrained_config"), _expected_model(spec))
    yield from _differences("engine", config.get("build_config"), _expected_build(spec))
    yield from rank_problems(folder, "rank{}.engine", spec.parallel.world_size)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _expected_model(spec: EngineSpec) -> dict[str, Any]:
    shape, parallel, quantization = spec.shape, spec.parallel, spec.quantization
    return {
        "architecture": f"{'Eagle' if spec.speculative.eagle else 'Llama'}ForCausalLM",
        "dtype": spec.dtype,
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "intermediate_size": shape.intermediate,
        "mapping.world_size": parallel.world_size,
        "mapping.tp_size": parallel.tensor,
        "mapping.pp_size": parallel.pipeline,
        "quantization.quant_algo": _CHECKPOINT_ALGORITHMS[quantization.weights],
        "quantization.kv_cache_quant_algo": _KV_ALGORITHMS[quantization.kv_cache],
    }


def _expected_build(spec: EngineSpec) -> dict[str, Any]:
    limits, built, plugins = spec.limits, built_limits(spec), spec.plugins
    asked = {
        f"plugin_config.{name}": True
        for name in ("reduce_fusion", "user_buffer")
        if getattr(plugins, name)
    }
    return {
        "max_batch_size": limits.max_batch_size,
        "max_input_len": limits.max_input_len,
        "max_num_tokens": built.max_num_tokens,
        "max_beam_width": limits.max_beam_width,
        "plugin_config.use_paged_context_fmha": plugins.paged_context_fmha,
        **asked,
        **({"max_seq_len": built.max_seq_len} if spec.release.has("0.11.0") else {}),
        **({"max_draft_len": spec.speculative.draft_len} if spec.speculative.draft_len else {}),
    }


def _differences(kind: str, config: object, expected: Mapping[str, Any]) -> Iterator[str]:
    for name, wanted in expected.items():
        found: object = config
        for part in name.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found != wanted or type(found) is not type(wanted):
            yield f"{kind}: {name} is {found!r} in config.json, {wanted!r} by the spec"


def rank_problems(folder: Path, pattern: str, world_size: int) -> Iterator[str]:
    """Yield which files of ranks lack, are empty, or are too many."""
    wanted = {pattern.format(rank) for rank in range(world_size)}
    found = {path.name for path in folder.glob(pattern.format("*")) if path.stat().st_size}
    if missing := wanted - found:
        yield f"{', '.join(sorted(missing))} missing or empty: world_size is {world_size}"
    if extra := found - wanted:
        yield f"{', '.join(sorted(extra))} too many: world_size is {world_size}"
