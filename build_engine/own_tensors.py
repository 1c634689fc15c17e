"""Tensors of our own in the `tensorrt_llm` model, beside the contract of TensorRT-LLM 1.2.

Only engines that have a use for them declare them; the gateway looks for them in the model config.
"""

from collections.abc import Iterable
from typing import Literal

Feature = Literal["log_probs", "lora"]

# Log probabilities: how many of the likeliest tokens to tell of each generated token, and of each
# prompt token (0: of these only their own). The outputs are [T, K] for the T tokens of a response,
# and for the prompt's but the first; places that are free hold -1.
_INPUTS: dict[Feature, dict[str, str]] = {
    "log_probs": {"num_top_log_probs": "INT32", "num_prompt_log_probs": "INT32"},
    "lora": {"lora_path": "STRING"},
}
_OUTPUTS: dict[Feature, dict[str, tuple[str, str]]] = {
    "log_probs": {
        "top_log_prob_ids": ("INT32", "-1, -1"),
        "top_log_probs": ("FP32", "-1, -1"),
        "prompt_log_probs": ("FP32", "-1"),
        "prompt_top_log_prob_ids": ("INT32", "-1, -1"),
        "prompt_top_log_probs": ("FP32", "-1, -1"),
    },
    "lora": {},
}
_TITLE = "\n# Beside the contract: tensors of the gateway's own.\n"


def declared(config: str, features: Iterable[Feature]) -> str:
    """Return the text of a config.pbtxt with the tensors of these features added."""
    inputs = [
        f'input {{ name: "{name}" data_type: TYPE_{kind} dims: [ 1 ] optional: true }}'
        for feature in features
        for name, kind in _INPUTS[feature].items()
    ]
    outputs = [
        f'output {{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] }}'
        for feature in features
        for name, (kind, dims) in _OUTPUTS[feature].items()
    ]
    return config + _TITLE + "\n".join([*inputs, *outputs]) + "\n"
