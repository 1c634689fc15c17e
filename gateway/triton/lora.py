"""LoRA adapters as tensors: files as TensorRT-LLM's converters write them, checked when read; or
the path of a folder that the engine reads itself."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.generation import Lora
from gateway.triton.tensors import ONE, Tensor, string

WEIGHTS, CONFIG = "model.lora_weights.npy", "model.lora_config.npy"
PEFT_CONFIG = "adapter_config.json"


def check_adapter(folder: Path) -> None:
    """Raise ValueError or OSError, naming the file, for a folder without a usable adapter.

    One in the format of Hugging Face's peft is for the engine to read.
    """
    if (folder / PEFT_CONFIG).is_file():
        return
    weights, config = _load(folder, WEIGHTS), _load(folder, CONFIG)
    if weights.dtype != np.float16:
        raise ValueError(f"{folder / WEIGHTS} holds {weights.dtype}, not float16")
    if config.dtype != np.int32 or config.shape[-1] != 3:
        raise ValueError(f"{folder / CONFIG} does not hold int32 rows of module, layer and rank")
    if weights.shape[-2:-1] != config.shape[-2:-1]:
        raise ValueError(f"{folder}: weights and configuration differ in their number of rows")


def task_tensor(lora: Lora) -> Tensor:
    """Return lora_task_id, UINT64 [1, 1]: all that is sent of an adapter the engine holds."""
    return "lora_task_id", "UINT64", ONE, lora.task_id.to_bytes(8, "little")


def path_tensors(lora: Lora) -> list[Tensor]:
    """Return lora_task_id and lora_path, all that an engine needs that reads adapters itself."""
    return [task_tensor(lora), string("lora_path", lora.path)]


def adapter_tensors(lora: Lora) -> list[Tensor]:
    """Return lora_task_id, lora_weights, FP16 [1, n, size], and lora_config, INT32 [1, n, 3]."""
    folder = Path(lora.path)
    weights, config = _load(folder, WEIGHTS), _load(folder, CONFIG)
    return [
        task_tensor(lora),
        ("lora_weights", "FP16", (1, *weights.shape[-2:]), weights.tobytes()),
        ("lora_config", "INT32", (1, *config.shape[-2:]), config.tobytes()),
    ]


def _load(folder: Path, name: str) -> NDArray[Any]:
    """Map an array of [n, m], alone or in a batch of one."""
    array: NDArray[Any] = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    if array.ndim not in (2, 3) or array.shape[:-2] not in ((), (1,)):
        raise ValueError(f"{folder / name} has shape {list(array.shape)}, not [1, n, m]")
    return array
