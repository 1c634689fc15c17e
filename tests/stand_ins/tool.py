"""A stand-in for convert_checkpoint.py, quantize.py and trtllm-build of one TensorRT-LLM release.

It parses arguments strictly, by the version table, and writes files of the real tools' layout; it
converts and compiles nothing. STAND_IN_FAULT=KIND:TOOL makes it fail halfway.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build_engine.versions import flags_of, release_numbered

ALGORITHMS = {
    "fp8": "FP8",
    "int8_sq": "W8A8_SQ_PER_CHANNEL",
    "int4_awq": "W4A16_AWQ",
    "w4a8_awq": "W4A8_AWQ",
    "nvfp4": "NVFP4",
}

LIMITS = ("max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens", "max_beam_width")


def main(tool: str) -> None:
    """Run as a tool, with sys.argv."""
    number = importlib.metadata.version("tensorrt_llm")
    arguments = _parse(tool, number)
    print(f"[TensorRT-LLM] stand-in of {tool}, version {number}", flush=True)
    output = Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    if tool == "trtllm-build":
        config = _engine_config(arguments, number)
        names = [f"rank{rank}.engine" for rank in range(_world_size(config["pretrained_config"]))]
    else:
        config = _checkpoint_config(tool, arguments)
        names = [f"rank{rank}.safetensors" for rank in range(_world_size(config))]
    for name in names:
        (output / name).write_bytes(b"stand-in weights" * 64)
        _fail_where_told(tool, output)
    (output / "config.json").write_text(json.dumps(config, indent=2))


def _parse(tool: str, number: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=tool, allow_abbrev=False)
    for name, flag in flags_of(tool, release_numbered(number)).items():
        if flag.is_switch:
            parser.add_argument(f"--{name}", action="store_true")
        else:
            choices = flag.values or None
            parser.add_argument(f"--{name}", choices=choices, nargs="+" if flag.many else None)
    return parser.parse_args()


def _checkpoint_config(tool: str, arguments: argparse.Namespace) -> dict[str, Any]:
    folder = Path(arguments.model_dir)
    if not any(folder.glob("*.safetensors")):
        sys.exit(f"No such file or directory: {folder}/*.safetensors")
    return checkpoint_config(
        json.loads((folder / "config.json").read_text()),
        dtype=arguments.dtype,
        parallel=(int(arguments.tp_size), int(arguments.pp_size)),
        quantization=getattr(arguments, "qformat", None),
        kv_cache=getattr(arguments, "kv_cache_dtype", None),
        architecture="EagleForCausalLM" if tool.startswith("eagle") else "LlamaForCausalLM",
    )


def checkpoint_config(
    model: Mapping[str, Any],
    *,
    dtype: str,
    parallel: tuple[int, int] = (1, 1),
    quantization: str | None = None,
    kv_cache: str | None = None,
    architecture: str = "LlamaForCausalLM",
) -> dict[str, Any]:
    """Return config.json of a checkpoint of a Hugging Face model."""
    copied = (
        "vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "intermediate_size",
    )  # fmt: skip
    tensor, pipeline = parallel
    return {
        "architecture": architecture,
        "dtype": dtype,
        "logits_dtype": "float32",
        **{name: model[name] for name in copied},
        "mapping": {"world_size": tensor * pipeline, "tp_size": tensor, "pp_size": pipeline},
        "quantization": {
            "quant_algo": ALGORITHMS.get(quantization or ""),
            "kv_cache_quant_algo": kv_cache.upper() if kv_cache else None,
        },
    }


def _engine_config(arguments: argparse.Namespace, number: str) -> dict[str, Any]:
    limits = {name: getattr(arguments, name, None) for name in LIMITS}
    return engine_config(
        json.loads((Path(arguments.checkpoint_dir) / "config.json").read_text()),
        number,
        {name: int(value) for name, value in limits.items() if value is not None},
        is_paged=arguments.use_paged_context_fmha == "enable",
    )


def engine_config(
    checkpoint: Mapping[str, Any], number: str, limits: Mapping[str, int], *, is_paged: bool
) -> dict[str, Any]:
    """Return config.json of an engine of a checkpoint."""
    plugins = {"use_paged_context_fmha": is_paged}
    return {
        "version": number,
        "pretrained_config": checkpoint,
        "build_config": {**limits, "plugin_config": plugins},
    }


def _world_size(config: dict[str, Any]) -> int:
    size: int = config["mapping"]["world_size"]
    return size


def _fail_where_told(tool: str, output: Path) -> None:
    kind, _, where = os.environ.get("STAND_IN_FAULT", "").partition(":")
    if where != tool:
        return
    if kind == "pause":
        (output / "half-written").touch()
        print("paused", flush=True)
        time.sleep(600)
    if kind == "full-disk":
        Path("/dev/full").write_text("x" * 8192)  # what the kernel says is what a full disk says
    if kind == "large":  # takes a while to hash, and no room
        with (output / "rank0.engine").open("r+b") as engine:
            engine.truncate(800_000_000)
    if kind == "out-of-memory":
        sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    if kind == "wrong-output":
        (output / "rank0.engine").unlink(missing_ok=True)
        (output / "rank0.safetensors").unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv.pop(1))
