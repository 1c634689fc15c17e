"""vllm/engine/arg_utils.py: unknown arguments are an error, as of any dataclass."""

from dataclasses import dataclass


@dataclass
class AsyncEngineArgs:
    model: str
    max_model_len: int
    max_num_seqs: int
    block_size: int = 16
    enable_prefix_caching: bool = True
    enable_lora: bool = False
    load_format: str = "auto"
