"""How the `tensorrt_llm` model starts vLLM: its interpreter, its arguments; whether it could."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build_engine.errors import BuildError
from build_engine.own_tensors import Feature, declared

# vLLM's own default for CUDA; written down, because cached tokens are counted in blocks.
_TOKENS_PER_BLOCK = 16
_MAX_NUM_SEQS = 512
_INSTALL = "python3 -m venv vllm && vllm/bin/pip install vllm==0.26.0"
# Importing all of it takes 20 s: whether it is there is told without.
_LOOK = "from importlib.metadata import version; print(version('vllm'))"
# What the repository decides elsewhere.
_DECIDED = {"model", "tokenizer", "enable_prefix_caching"}
# Responses a second that Triton's Python backend takes on 16 cores, of one token: 10,000 from one
# thread, 17,500 from two, 32,000 from four.
_NUM_SENDERS = 4


@dataclass(frozen=True)
class VllmSpec:
    """What starts vLLM: `python` has it installed, and is the model's own where it is empty.

    `arguments` are those of AsyncEngineArgs. Raises BuildError for what is decided elsewhere.
    """

    python: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in sorted(_DECIDED & self.arguments.keys()):
            raise BuildError(f"--vllm-args: {name} is decided by the repository; leave it out")
        for name in ("max_model_len", "max_num_seqs", "block_size"):
            value = self.arguments.get(name, 2)
            if type(value) is not int or value < 1:
                raise BuildError(f"--vllm-args: {name} is {value!r}, not a number above 0")

    @classmethod
    def read(cls, python: str, arguments: str) -> "VllmSpec":
        """Return what an interpreter and JSON say. Raises BuildError where it is no object."""
        try:
            read = json.loads(arguments)
        except ValueError:
            read = None
        if not isinstance(read, dict):
            raise BuildError('--vllm-args is not a JSON object, such as {"max_model_len": 8192}')
        return cls(python, read)

    def context_length(self, longest: int) -> int:
        """Return the context in tokens, of a model that has positions for `longest`."""
        length = int(self.arguments.get("max_model_len", longest))
        if length > longest:
            raise BuildError(f"--vllm-args: max_model_len is {length}, the model's is {longest}")
        return length

    def variables(self) -> dict[str, str]:
        """Return what the templates leave open."""
        return {
            "triton_max_batch_size": str(self.arguments.get("max_num_seqs", _MAX_NUM_SEQS)),
            "tokens_per_block": str(self.arguments.get("block_size", _TOKENS_PER_BLOCK)),
            "num_senders": str(_NUM_SENDERS),
        }

    def config(self, text: str) -> str:
        """Return the config.pbtxt of the model: the template's, and what this engine has beside."""
        features: list[Feature] = ["log_probs"]
        if self.arguments.get("enable_lora"):
            features.append("lora")
        return declared(text, features)

    def file(self, model: Path) -> str:
        """Return vllm.json."""
        ours = {"model": str(model), "block_size": _TOKENS_PER_BLOCK}
        content = {"python": self.python, "arguments": ours | dict(self.arguments)}
        return json.dumps(content, indent=2) + "\n"


def check_vllm(python: str) -> None:
    """Return where vLLM can be started: a GPU, and an interpreter that has it.

    Raises BuildError with what is missing, and what to do.
    """
    if shutil.which("nvidia-smi") is None:
        raise BuildError(
            "vllm needs an NVIDIA GPU and its driver, and nvidia-smi is not here: --engine "
            "openvino runs on a CPU"
        )
    name = python or sys.executable
    try:
        looked = subprocess.run([name, "-c", _LOOK], capture_output=True, timeout=60, check=False)
        is_there = looked.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        is_there = False
    if not is_there:
        raise BuildError(
            f"{name} has no vllm, which cannot share an environment with Triton's wheel (numpy "
            f">= 2 and < 2): {_INSTALL}, then --vllm-python vllm/bin/python"
        )
