"""Request tensors of TensorRT-LLM 1.2 into a `Request`. Knows neither Triton's API nor an engine.

Scalars declared with an empty reshape arrive as [1], all other tensors with a leading batch of 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]
Words = tuple[tuple[int, ...], ...]

GUIDE_KINDS = ("json", "json_schema", "regex", "ebnf_grammar")


class Refused(Exception):
    """The request cannot be served; the message is for whoever sent it."""


class UnsupportedTensor(Refused):
    """The tensor is in the contract, but what it asks for cannot be honoured here."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"unsupported tensor '{name}': {reason}")


@dataclass(frozen=True)
class Guide:
    """What the answer must look like; `kind` is one of GUIDE_KINDS."""

    kind: str
    text: str


@dataclass(frozen=True)
class Request:
    """One prompt with every default decided.

    `top_k` 0 keeps the whole vocabulary, `top_p` 0 is unset; with both unset decoding is greedy.
    `end_id` -1 never ends a sequence.
    """

    id: str
    input_ids: tuple[int, ...]
    max_tokens: int
    end_id: int = -1
    stop_words: Words = ()
    num_return_sequences: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    min_tokens: int = 0
    seed: int = 0
    guide: Guide | None = None
    streaming: bool = False
    exclude_input: bool = False
    return_log_probs: bool = False
    return_perf_metrics: bool = False
    return_num_input_tokens: bool = False
    return_num_output_tokens: bool = False

    @property
    def is_sampled(self) -> bool:
        """Whether chance plays a part, as TensorRT-LLM decides it from the sampling tensors."""
        is_open = self.top_k > 1 or (self.top_k <= 0 and self.top_p > 0)
        return self.temperature > 0 and is_open


@dataclass(frozen=True)
class Limits:
    """What the deployment sets: the context in tokens, and whether prompts are echoed."""

    max_seq_len: int
    exclude_input: bool = False


def is_stop(request_id: str, tensors: Tensors) -> bool:
    """Whether the tensors ask to stop the generation with the same request id.

    Raises Refused where they do, but there is no id.
    """
    stops = bool(_scalar(tensors, "stop", False))
    if stops and not request_id:
        raise Refused("Trying to stop a request but request ID is not provided")
    return stops


def parse(request_id: str, tensors: Tensors, limits: Limits) -> Request:
    """The request that the tensors describe, its output clipped to the context.

    Raises Refused, naming the tensor.
    """
    _check_supported(tensors)
    input_ids = _input_ids(tensors)
    return Request(
        id=request_id,
        input_ids=input_ids,
        max_tokens=_max_tokens(tensors, len(input_ids), limits.max_seq_len),
        end_id=int(_scalar(tensors, "end_id", -1)),
        stop_words=words(tensors, "stop_words_list"),
        num_return_sequences=_positive(tensors, "num_return_sequences", 1),
        temperature=float(_scalar(tensors, "temperature", 1.0)),
        top_k=int(_scalar(tensors, "runtime_top_k", 0)),
        top_p=float(_scalar(tensors, "runtime_top_p", 0.0)),
        repetition_penalty=float(_scalar(tensors, "repetition_penalty", 1.0)),
        presence_penalty=float(_scalar(tensors, "presence_penalty", 0.0)),
        frequency_penalty=float(_scalar(tensors, "frequency_penalty", 0.0)),
        min_tokens=int(_scalar(tensors, "min_tokens", 0)),
        seed=int(_scalar(tensors, "seed", 0)),
        guide=_guide(tensors),
        streaming=bool(_scalar(tensors, "streaming", False)),
        exclude_input=bool(_scalar(tensors, "exclude_input_in_output", limits.exclude_input)),
        return_log_probs=bool(_scalar(tensors, "return_log_probs", False)),
        return_perf_metrics=bool(_scalar(tensors, "return_perf_metrics", False)),
        return_num_input_tokens=bool(_scalar(tensors, "return_num_input_tokens", False)),
        return_num_output_tokens=bool(_scalar(tensors, "return_num_output_tokens", False)),
    )


def words(tensors: Tensors, name: str) -> Words:
    """The token sequences of a [1, 2, N] tensor: ids in row 0, end offsets in row 1, then -1."""
    tensor = tensors.get(name)
    if tensor is None or tensor.size == 0:
        return ()
    if tensor.ndim != 3 or tensor.shape[:2] != (1, 2):
        raise Refused(f"tensor '{name}' must have shape [1, 2, N], not {list(tensor.shape)}")
    ids, offsets = tensor[0].tolist()
    ends = [offset for offset in offsets if offset != -1]
    starts = [0, *ends]
    is_ordered = all(start < end <= len(ids) for start, end in zip(starts, ends, strict=False))
    if offsets[len(ends) :].count(-1) != len(offsets) - len(ends) or not is_ordered:
        raise Refused(f"tensor '{name}' must have increasing end offsets in row 1, then only -1")
    return tuple(tuple(ids[start:end]) for start, end in zip(starts, ends, strict=False))


def _scalar(tensors: Tensors, name: str, default: float) -> float:
    tensor = tensors.get(name)
    if tensor is None:
        return default
    if tensor.size != 1:
        raise Refused(f"tensor '{name}' must hold one value, not {tensor.size}")
    value: float = tensor.item()
    return value


def _positive(tensors: Tensors, name: str, default: int) -> int:
    value = int(_scalar(tensors, name, default))
    if value < 1:
        raise Refused(f"tensor '{name}' must be at least 1, not {value}")
    return value


def _input_ids(tensors: Tensors) -> tuple[int, ...]:
    ids = tensors.get("input_ids", np.empty((1, 0), np.int32))
    if ids.shape[0] != 1:
        raise UnsupportedTensor("input_ids", f"one prompt per request, not {ids.shape[0]}")
    length = int(_scalar(tensors, "input_lengths", ids.shape[-1]))
    if ids.ndim != 2 or not 0 < length <= ids.shape[1]:
        raise Refused(f"tensor 'input_ids' must have shape [1, >= {max(length, 1)}]")
    return tuple(ids[0, :length].tolist())


def _max_tokens(tensors: Tensors, num_input: int, max_seq_len: int) -> int:
    requested = _positive(tensors, "request_output_len", 0)
    if num_input >= max_seq_len:
        limit = max_seq_len - 1
        raise Refused(f"Prompt length ({num_input}) exceeds maximum input length ({limit}).")
    return min(requested, max_seq_len - num_input)


def _guide(tensors: Tensors) -> Guide | None:
    kind = _text(tensors, "guided_decoding_guide_type")
    if not kind:
        return None
    if kind not in GUIDE_KINDS:
        raise UnsupportedTensor("guided_decoding_guide_type", f"'{kind}' is not a kind of guide")
    return Guide(kind, _text(tensors, "guided_decoding_guide"))


def _text(tensors: Tensors, name: str) -> str:
    tensor = tensors.get(name)
    if tensor is None or tensor.size == 0:
        return ""
    try:
        text: str = tensor.ravel()[0].decode()
    except UnicodeDecodeError:
        raise Refused(f"tensor '{name}' must be UTF-8") from None
    return text


# What the tensors ask for has no counterpart here, unless they are empty or hold a neutral value.
_UNSUPPORTED = {
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


def _check_supported(tensors: Tensors) -> None:
    for name in tensors.keys() & _UNSUPPORTED.keys():
        tensor = tensors[name]
        if tensor.size and not np.isin(tensor, _NEUTRAL.get(name, ())).all():
            raise UnsupportedTensor(name, _UNSUPPORTED[name])
