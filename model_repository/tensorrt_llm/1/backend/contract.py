"""Request tensors of TensorRT-LLM 1.2 into a `Request`. Knows neither Triton's API nor an engine.

Beside them are some of our own, in the models of engines that have a use for them: `lora_path`,
`num_top_log_probs`, `num_prompt_log_probs`. Scalars declared with an empty reshape arrive as [1],
all other tensors with a leading batch of 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.unsupported import unsupported

Tensors = Mapping[str, NDArray[Any]]
Words = tuple[tuple[int, ...], ...]

MAX_TOP_LOG_PROBS = 20
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
class Lora:
    """An adapter: its number, and the folder that the engine finds it in."""

    task_id: int
    path: str


@dataclass(frozen=True)
class Request:
    """One prompt with every default decided.

    `top_k` 0 keeps the whole vocabulary, `top_p` 0 is unset; with both unset decoding is greedy.
    `end_id` -1 never ends a sequence. `embedding_bias` is added to the logits, one FP32 a token.
    `num_prompt_log_probs` counts those wanted beside the prompt's own, -1 for not even these.
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
    beam_width: int = 1
    bad_words: Words = ()
    embedding_bias: NDArray[np.float32] | None = field(default=None, compare=False)
    lora: Lora | None = None
    num_top_log_probs: int = 0
    num_prompt_log_probs: int = -1

    @property
    def is_sampled(self) -> bool:
        """Whether chance plays a part, as TensorRT-LLM decides it from the sampling tensors."""
        is_open = self.top_k > 1 or (self.top_k <= 0 and self.top_p > 0)
        return self.temperature > 0 and is_open


@dataclass(frozen=True)
class Limits:
    """What the deployment sets: the context in tokens, whether prompts are echoed, and whether
    adapters can be had."""

    max_seq_len: int
    exclude_input: bool = False
    has_adapters: bool = False


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
    for name, reason in unsupported(tensors, {"lora_task_id"} if limits.has_adapters else set()):
        raise UnsupportedTensor(name, reason)
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
        beam_width=_positive(tensors, "beam_width", 1),
        bad_words=words(tensors, "bad_words_list"),
        embedding_bias=_embedding_bias(tensors),
        lora=_lora(tensors),
        num_top_log_probs=_count(tensors, "num_top_log_probs", 0),
        num_prompt_log_probs=_count(tensors, "num_prompt_log_probs", -1),
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


def _count(tensors: Tensors, name: str, default: int) -> int:
    value = int(_scalar(tensors, name, default))
    if not default <= value <= MAX_TOP_LOG_PROBS:
        raise Refused(f"tensor '{name}' must be at most {MAX_TOP_LOG_PROBS}, not {value}")
    return value


def _embedding_bias(tensors: Tensors) -> NDArray[np.float32] | None:
    bias = tensors.get("embedding_bias")
    return bias[0] if bias is not None and bias.any() else None


def _lora(tensors: Tensors) -> Lora | None:
    if "lora_task_id" not in tensors:
        return None
    return Lora(int(_scalar(tensors, "lora_task_id", 0)), _text(tensors, "lora_path"))


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
