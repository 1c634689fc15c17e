"""Tensors of the contract that no engine here can honour. Pure."""

from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray


def unsupported(tensors: Mapping[str, NDArray[Any]], taken: Set[str]) -> Iterator[tuple[str, str]]:
    """The names of tensors that ask for what there is not, and why; those in `taken` excepted.

    A tensor that is empty or holds a neutral value asks for nothing.
    """
    for name in (tensors.keys() - taken) & _REASONS.keys():
        tensor = tensors[name]
        if tensor.size and not np.isin(tensor, _NEUTRAL.get(name, ())).all():
            yield name, _REASONS[name]


_REASONS = {
    "encoder_input_features": "the model has no encoder",
    "decoder_input_ids": "the model has no encoder",
    "cross_attention_mask": "the model has no encoder",
    "skip_cross_attn_blocks": "the model has no encoder",
    "draft_input_ids": "no speculative decoding",
    "draft_logits": "no speculative decoding",
    "lookahead_window_size": "no speculative decoding",
    "lookahead_ngram_size": "no speculative decoding",
    "lookahead_verification_set_size": "no speculative decoding",
    "runtime_top_p_min": "top_p does not decay",
    "runtime_top_p_decay": "top_p does not decay",
    "return_context_logits": "logits are not returned",
    "return_generation_logits": "logits are not returned",
    "prompt_embedding_table": "no prompt tuning",
    "prompt_table_extra_ids": "no prompt tuning",
    "mrope_rotary_cos_sin": "the model takes no multimodal positions",
    "mrope_position_deltas": "the model takes no multimodal positions",
    "lora_task_id": "no LoRA adapters",
    "lora_weights": "no LoRA adapters",
    "lora_config": "no LoRA adapters",
    "context_phase_params": "no disaggregated serving",
    "retention_token_range_starts": "the KV cache has no priorities",
    "retention_token_range_ends": "the KV cache has no priorities",
    "retention_token_range_priorities": "the KV cache has no priorities",
    "retention_token_range_durations_ms": "the KV cache has no priorities",
    "retention_decode_priority": "the KV cache has no priorities",
    "retention_decode_duration_ms": "the KV cache has no priorities",
}
_NEUTRAL = {
    "runtime_top_p_min": (0.0,),
    "runtime_top_p_decay": (0.0, 1.0),
    "return_context_logits": (False,),
    "return_generation_logits": (False,),
    "skip_cross_attn_blocks": (False,),
}
