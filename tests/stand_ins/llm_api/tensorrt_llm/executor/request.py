"""An adapter of a request. Source: tensorrt_llm/executor/request.py of 1.3."""

import os
from dataclasses import dataclass


@dataclass(slots=True)
class LoRARequest:
    """Its path must be there when it is made."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    lora_ckpt_source: str = "hf"

    def __post_init__(self) -> None:
        if self.lora_path is not None and not os.path.exists(self.lora_path):
            raise ValueError(f"lora_path ({self.lora_path}) does not exist.")
        if self.lora_ckpt_source not in ["hf", "nemo"]:
            raise ValueError(
                f"lora_ckpt_source must be 'hf' or 'nemo', got {self.lora_ckpt_source}"
            )
