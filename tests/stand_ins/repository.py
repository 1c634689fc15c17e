"""A repository for TensorRT-LLM around an engine that is none: its files, made without tools."""

import json
from pathlib import Path
from typing import Any

from build_engine.commands import Toolbox, build_command, checkpoint_script
from build_engine.production import (
    Place,
    place_engine,
    repository_inputs,
    write_manifest,
    write_models,
)
from build_engine.progress import silent
from build_engine.spec import EngineSpec
from tests.stand_ins.builder import engine_config
from tests.stand_ins.model import hugging_face_config
from tests.stand_ins.tool import checkpoint_config, parse


def write_repository(spec: EngineSpec, tokenizer: Path, folder: Path) -> None:
    """Write the repository that a build of a spec ends with, served from where it is."""
    engine = folder.with_name(f"{folder.name}-engine")
    engine.mkdir(parents=True)
    config = config_of(spec)
    (engine / "config.json").write_text(json.dumps(config))
    for rank in range(spec.parallel.world_size):
        (engine / f"rank{rank}.engine").write_bytes(b"stand-in engine")
    place = Place(folder)
    write_models(spec, place, tokenizer, engine, folder)
    place_engine(engine, folder)
    write_manifest(spec, folder, repository_inputs(spec, place, "stand-in"), silent)


def config_of(spec: EngineSpec, sm: int = 90) -> dict[str, Any]:
    """Return config.json of the engine that the stand-in tools make of a spec."""
    quantization, parallel, drafts = spec.quantization, spec.parallel, spec.speculative
    heads = {
        "max_draft_len": drafts.max_draft_len,
        "num_eagle_layers": drafts.eagle_layers,
        "max_non_leaves_per_layer": drafts.eagle_non_leaves,
    }
    tool, _ = checkpoint_script(spec)
    checkpoint = checkpoint_config(
        hugging_face_config(spec.shape),
        dtype=spec.dtype,
        parallel=(parallel.tensor, parallel.pipeline),
        quantization=quantization.weights if tool == "quantize" else None,
        kv_cache=None if quantization.kv_cache == "auto" else quantization.kv_cache,
        heads=heads if tool.startswith("eagle") else None,
    )
    command = build_command(spec, Toolbox(), Path("CHECKPOINT"), Path("ENGINE"))
    arguments = parse("trtllm-build", spec.tensorrt_llm, command.argv[1:])
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    return engine_config(checkpoint, spec.tensorrt_llm, given, sm)
