"""Generations to Triton's tensors and back. Pure: messages in, messages out, no connection."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2 as pb

from gateway.generation import Generation
from gateway.triton.contract import Contract

ONE = (1, 1)

INT32 = struct.Struct("<i")

Tensor = tuple[str, str, tuple[int, ...], bytes]


def encode_request(
    generation: Generation, contract: Contract, request_id: str, adapter: Sequence[Tensor] = ()
) -> Any:
    """Return the `ModelInferRequest` for a generation, a batch of one; `adapter` is its LoRA's.

    Scalars travel as [1, 1]; the tensor table is section 1 of TensorRT-LLM's Triton contract.
    top_k, top_p and temperature are always sent: without them the runtime ignores the seed.
    """
    tensors = (*_tensors(generation, contract), *adapter)
    return build_request(contract.model, request_id, tensors, contract.inputs.__contains__)


def build_request(
    model: str, request_id: str, tensors: Iterable[Tensor], takes: Callable[[str], bool]
) -> Any:
    """Return a `ModelInferRequest` of those tensors that the model takes."""
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    taken = [tensor for tensor in tensors if takes(tensor[0])]
    request.inputs.extend([_header(name, datatype, shape) for name, datatype, shape, _ in taken])
    request.raw_input_contents.extend([raw for *_, raw in taken])
    return request


@lru_cache(maxsize=256)
def _header(name: str, datatype: str, shape: tuple[int, ...]) -> Any:
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)


def _tensors(generation: Generation, contract: Contract) -> Iterator[Tensor]:
    prompt = generation.prompt.token_ids
    yield "input_ids", "INT32", (1, len(prompt)), int32s(prompt)
    yield int32("input_lengths", len(prompt))
    yield int32("request_output_len", generation.max_tokens)
    yield boolean("streaming", generation.streaming)
    yield boolean("exclude_input_in_output", True)
    yield from _sampling(generation, contract)
    yield from _ends(generation)
    yield from _extras(generation, contract)


def _sampling(generation: Generation, contract: Contract) -> Iterator[Tensor]:
    sampling = generation.sampling
    is_greedy = sampling.temperature == 0.0
    yield fp32("temperature", 1.0 if is_greedy else sampling.temperature)
    yield int32("runtime_top_k", 1 if is_greedy else sampling.top_k)
    yield fp32("runtime_top_p", sampling.top_p)
    yield contract.seed, "UINT64", ONE, struct.pack("<Q", sampling.seed)
    if sampling.repetition_penalty != 1.0:
        yield fp32("repetition_penalty", sampling.repetition_penalty)
    if sampling.presence_penalty:
        yield fp32("presence_penalty", sampling.presence_penalty)
    if sampling.frequency_penalty:
        yield fp32("frequency_penalty", sampling.frequency_penalty)


def _ends(generation: Generation) -> Iterator[Tensor]:
    """One end token goes as `end_id`; further ones are stop words, which the engine echoes."""
    if not generation.end_ids:
        return
    end_id, *others = generation.end_ids
    yield int32("end_id", end_id)
    yield int32("pad_id", end_id)
    if others:
        yield words("stop_words_list", tuple((other,) for other in others))


def _extras(generation: Generation, contract: Contract) -> Iterator[Tensor]:
    if generation.min_tokens:
        yield int32(contract.min_tokens, generation.min_tokens)
    if generation.num_sequences > 1:
        yield int32("num_return_sequences", generation.num_sequences)
    if generation.logit_bias:
        raw = dense_bias(generation.logit_bias, contract.vocab_size)
        yield "embedding_bias", "FP32", (1, contract.vocab_size), raw
    if generation.bad_words:
        yield words("bad_words_list", generation.bad_words)
    yield from _log_probs(generation)
    if generation.guide is not None:
        yield string("guided_decoding_guide_type", generation.guide.kind.value)
        yield string("guided_decoding_guide", generation.guide.text)
    if "kv_cache_reused_blocks" in contract.outputs:
        yield boolean(contract.perf_metrics, True)


def _log_probs(generation: Generation) -> Iterator[Tensor]:
    if generation.logprobs:
        yield boolean("return_log_probs", True)
    if generation.num_top:
        yield int32("num_top_log_probs", generation.num_top)
    if generation.num_prompt >= 0:
        yield int32("num_prompt_log_probs", generation.num_prompt)


@lru_cache(maxsize=16)
def dense_bias(logit_bias: tuple[tuple[int, float], ...], vocab_size: int) -> bytes:
    """Return FP32 [vocab_size], the only form the engine takes; half a megabyte for Llama 3."""
    bias = np.zeros(vocab_size, np.float32)
    for token_id, value in logit_bias:
        bias[token_id] = value
    return bias.tobytes()


def int32(name: str, value: int) -> Tensor:
    return name, "INT32", ONE, struct.pack("<i", value)


def fp32(name: str, value: float) -> Tensor:
    return name, "FP32", ONE, struct.pack("<f", value)


def boolean(name: str, value: bool) -> Tensor:
    return name, "BOOL", ONE, b"\1" if value else b"\0"


def string(name: str, value: str) -> Tensor:
    raw = value.encode()
    return name, "BYTES", ONE, struct.pack("<I", len(raw)) + raw


_FEW_WORDS = 64


def words(name: str, words: tuple[tuple[int, ...], ...]) -> Tensor:
    """Words as INT32 [1, 2, N]: all ids in a row; below them each word's end, then -1."""
    few = len(words) <= _FEW_WORDS and sum(map(len, words)) <= _FEW_WORDS
    return _kept_words(name, words) if few else _words(name, words)


def _words(name: str, words: tuple[tuple[int, ...], ...]) -> Tensor:
    ids = [token_id for word in words for token_id in word]
    ends = list(accumulate(map(len, words)))
    unused = [-1] * (len(ids) - len(ends))
    return name, "INT32", (1, 2, len(ids)), int32s([*ids, *ends, *unused])


_kept_words = lru_cache(maxsize=64)(_words)


def int32s(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def raw_outputs(response: Any) -> dict[str, bytes]:
    names = [tensor.name for tensor in response.outputs]
    return dict(zip(names, response.raw_output_contents, strict=True))


def first_int32(raw: bytes) -> int:
    return int(INT32.unpack_from(raw)[0])
