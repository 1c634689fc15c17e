"""A model repository on the LLM API, with the stand-in for `tensorrt_llm` beside the model."""

import json
import shutil
from pathlib import Path

from build_engine.llm_api import write_repository
from build_engine.spec import EngineSpec, load_spec

STAND_IN = Path(__file__).parent / "stand_ins" / "llm_api" / "tensorrt_llm"
MAX_SEQ_LEN = 2048
STEP_S = 0.002


def spec(queue: int) -> EngineSpec:
    """A shipped spec, as small as tests want it."""
    return load_spec("llama-3.1-8b-h100-lora").replaced(
        limits={
            "max_batch_size": 64,
            "max_input_len": MAX_SEQ_LEN - 1,
            "max_seq_len": MAX_SEQ_LEN,
            "max_num_tokens": MAX_SEQ_LEN,
        },
        serving={"max_queue_size": queue, "preprocessing_instances": 1},
    )


def llm_api_repository(folder: Path, tokenizer: Path, script: Path, queue: int) -> Path:
    """Write the repository that `build-engine repository --engine llm_api` does; its weights are a
    script."""
    weights = folder / "weights"
    weights.mkdir()
    paced = {**json.loads(script.read_text()), "cost": {"step_s": STEP_S}}
    (weights / "simulator.json").write_text(json.dumps(paced))
    shutil.copy(tokenizer / "tokenizer.json", weights)
    repository = folder / "models"
    write_repository(spec(queue), repository, tokenizer, "127.0.0.1:8001", weights)
    shutil.copytree(STAND_IN, repository / "tensorrt_llm/1/tensorrt_llm")
    return repository
