"""A repository for TensorRT-LLM around an engine that is none: its files, made without tools."""

import json
from pathlib import Path

from build_engine.production import (
    Place,
    place_engine,
    repository_inputs,
    write_manifest,
    write_models,
)
from build_engine.progress import silent
from build_engine.spec import EngineSpec
from tests.stand_ins.model import hugging_face_config
from tests.stand_ins.tool import checkpoint_config, engine_config


def write_repository(spec: EngineSpec, tokenizer: Path, folder: Path) -> None:
    """Write the repository that a build of a spec ends with, served from where it is."""
    engine = folder.with_name(f"{folder.name}-engine")
    engine.mkdir(parents=True)
    quantization, parallel = spec.quantization, spec.parallel
    checkpoint = checkpoint_config(
        hugging_face_config(spec.shape),
        dtype=spec.dtype,
        parallel=(parallel.tensor, parallel.pipeline),
        quantization=quantization.weights,
        kv_cache=None if quantization.kv_cache == "auto" else quantization.kv_cache,
    )
    limits = spec.limits.model_dump()
    paged = spec.plugins.paged_context_fmha
    config = engine_config(checkpoint, spec.tensorrt_llm, limits, is_paged=paged)
    (engine / "config.json").write_text(json.dumps(config))
    for rank in range(parallel.world_size):
        (engine / f"rank{rank}.engine").write_bytes(b"stand-in engine")
    place = Place(folder)
    write_models(spec, place, tokenizer, folder)
    place_engine(engine, folder)
    write_manifest(spec, folder, repository_inputs(spec, place, "stand-in"), silent)
