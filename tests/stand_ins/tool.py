"""A stand-in for convert_checkpoint.py, quantize.py and trtllm-build of one TensorRT-LLM release.

It parses arguments strictly, by the version table, and writes the files that the real tools write;
it converts and compiles nothing. STAND_IN_FAULT=KIND:TOOL makes it fail halfway.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from build_engine.versions import flags_of, release_numbered
from tests.stand_ins.builder import BuildRefused, engine_config

ALGORITHMS = {
    "fp8": "FP8",
    "int8_sq": "W8A8_SQ_PER_CHANNEL",
    "int4_awq": "W4A16_AWQ",
    "w4a8_awq": "W4A8_AWQ",
    "nvfp4": "NVFP4",
}


def main(tool: str) -> None:
    """Run as a tool, with sys.argv."""
    number = importlib.metadata.version("tensorrt_llm")
    arguments = parse(tool, number, sys.argv[1:])
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


def parse(tool: str, number: str, words: Sequence[str]) -> argparse.Namespace:
    """Return a tool's arguments; ends the process for those that it does not know."""
    parser = argparse.ArgumentParser(prog=tool, allow_abbrev=False)
    for name, flag in flags_of(tool, release_numbered(number)).items():
        if flag.is_switch:
            parser.add_argument(f"--{name}", action="store_true")
        else:
            choices = flag.values or None
            parser.add_argument(f"--{name}", choices=choices, nargs="+" if flag.many else None)
    return parser.parse_args(words)


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
        heads=_heads(arguments) if tool.startswith("eagle") else None,
    )


def _heads(arguments: argparse.Namespace) -> dict[str, int]:
    names = ("max_draft_len", "num_eagle_layers", "max_non_leaves_per_layer")
    return {name: int(getattr(arguments, name)) for name in names}


def checkpoint_config(
    model: Mapping[str, Any],
    *,
    dtype: str,
    parallel: tuple[int, int] = (1, 1),
    quantization: str | None = None,
    kv_cache: str | None = None,
    heads: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return config.json of a checkpoint of a Hugging Face model.

    examples/eagle/convert_checkpoint.py (04a2cac) writes EagleForCausalLM, the sizes of the heads
    and no quantization; Model-Optimizer's tensorrt_llm_utils.py (0.23.0) logits of float16 for
    models of bfloat16, else of their own type.
    """
    copied = (
        "vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "intermediate_size",
    )  # fmt: skip
    tensor, pipeline = parallel
    is_quantized = quantization in ALGORITHMS
    quantized_logits = "float16" if dtype == "bfloat16" else dtype
    return {
        "architecture": "EagleForCausalLM" if heads else "LlamaForCausalLM",
        "dtype": dtype,
        "logits_dtype": quantized_logits if is_quantized else "float32",
        **{name: model[name] for name in copied},
        **(heads or {}),
        "mapping": {"world_size": tensor * pipeline, "tp_size": tensor, "pp_size": pipeline},
        "quantization": {
            "quant_algo": ALGORITHMS.get(quantization or ""),
            "kv_cache_quant_algo": kv_cache.upper() if kv_cache else None,
        },
    }


def _engine_config(arguments: argparse.Namespace, number: str) -> dict[str, Any]:
    checkpoint = json.loads((Path(arguments.checkpoint_dir) / "config.json").read_text())
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    try:
        return engine_config(checkpoint, number, given, int(os.environ.get("STAND_IN_SM", "90")))
    except BuildRefused as error:
        sys.exit(f"RuntimeError: {error}")


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
