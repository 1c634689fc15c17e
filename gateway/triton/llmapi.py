"""The engine behind NVIDIA's `llmapi` model: TensorRT-LLM's LLM API, spoken to with text.

It encodes the text with special tokens (SamplingParams.add_special_tokens is True, and the model
has no input for it), returns the whole text so far in every response, and says why it ended.
"""

import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.engine import Feature
from gateway.generation import Finished, FinishReason, Generation, Item, TextDelta
from gateway.triton.call import Asked, EngineRequest, is_final, responses
from gateway.triton.contract import ContractMismatch, read_max_model_len
from gateway.triton.replica import Replica
from gateway.triton.replicas import Replicas
from gateway.triton.server import ServedModel, work_of
from gateway.triton.tensors import Tensor, build_request, raw_outputs
from gateway.triton.text import TextCodec, read_string, strings, unopened

PREFIX = "sampling_param_"


@dataclass(frozen=True, slots=True)
class LlmApi:
    """What an llmapi model takes; `shape` is that of a scalar, [1, 1] only where it batches.

    Source: all_models/llmapi/tensorrt_llm/config.pbtxt of TensorRT-LLM's triton_backend.
    """

    model: str
    inputs: frozenset[str]
    shape: tuple[int, ...]
    max_model_len: int

    @property
    def features(self) -> frozenset[Feature]:
        return frozenset()

    def takes(self, tensor: str) -> bool:
        return tensor in self.inputs


def read_llmapi(config: Any, max_model_len: int | None) -> LlmApi:
    """Return the contract in the `ModelConfig` of an llmapi model.

    Raises ContractMismatch naming the setting at fault.
    """
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    limit = read_max_model_len(config.name, parameters, max_model_len)
    if not config.model_transaction_policy.decoupled:
        raise ContractMismatch(
            f"Triton's model {config.name!r} is not decoupled, so it cannot stream: "
            "set triton_config.decoupled: true in its model.yaml"
        )
    inputs = frozenset(tensor.name for tensor in config.input)
    return LlmApi(config.name, inputs, (1, 1) if config.max_batch_size else (1,), limit)


class LlmApiEngine(ServedModel):
    """Generates text from text, the new part found by comparing with the last response."""

    def __init__(self, replicas: Replicas, codec: TextCodec) -> None:
        super().__init__(replicas)
        self._codec = codec

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        request = EngineRequest.of(generation)
        text, reason = CumulativeText(self._codec), FinishReason.STOP
        compose = partial(self._compose, generation, request)
        route = self.replicas.route(work_of(generation))
        asked = Asked(self.replicas, compose, request, route, text)
        del generation, compose
        async with aclosing(responses(asked, request)) as arrivals:
            async for response in arrivals:
                raw, is_last = raw_outputs(response), is_final(response)
                if raw.get("finish_reason") and read_string(raw["finish_reason"]) == "length":
                    reason = FinishReason.LENGTH
                so_far = read_string(raw["text_output"]) if "text_output" in raw else text.seen
                yield text.grow(so_far, is_last)
                if is_last:
                    asked.finish(text.num_tokens, None)
                    yield Finished((reason,))
                    return

    async def _compose(
        self, generation: Generation, request: EngineRequest, replica: Replica
    ) -> Any:
        llmapi = replica.contract
        assert isinstance(llmapi, LlmApi)
        tensors = self._tensors(generation, llmapi)
        return build_request(llmapi.model, request.id, tensors, llmapi.takes)

    def _tensors(self, generation: Generation, llmapi: LlmApi) -> Iterator[Tensor]:
        sampling, shape = generation.sampling, llmapi.shape
        is_greedy = sampling.temperature == 0.0
        yield strings("text_input", [unopened(generation.prompt, self._codec)], shape)
        yield "streaming", "BOOL", shape, bytes([generation.streaming])
        yield "return_finish_reason", "BOOL", shape, b"\1"
        yield f"{PREFIX}exclude_input_from_output", "BOOL", shape, b"\1"
        yield _int32("max_tokens", generation.max_tokens, shape)
        yield _int32("top_k", 1 if is_greedy else sampling.top_k, shape)
        yield _fp32("temperature", 1.0 if is_greedy else sampling.temperature, shape)
        yield _fp32("top_p", sampling.top_p, shape)
        yield _fp32("presence_penalty", sampling.presence_penalty, shape)
        yield _fp32("frequency_penalty", sampling.frequency_penalty, shape)
        yield f"{PREFIX}seed", "UINT64", shape, sampling.seed.to_bytes(8, "little")


def _int32(name: str, value: int, shape: tuple[int, ...]) -> Tensor:
    return PREFIX + name, "INT32", shape, value.to_bytes(4, "little", signed=True)


def _fp32(name: str, value: float, shape: tuple[int, ...]) -> Tensor:
    return PREFIX + name, "FP32", shape, struct.pack("<f", value)


class CumulativeText:
    """A text that comes whole each time: what it gains, in text and in tokens.

    A response is taken for a token until the last, which sets the count right.
    """

    def __init__(self, codec: TextCodec) -> None:
        self.seen = ""
        self._codec = codec
        self.num_tokens = 0

    def grow(self, text: str, is_whole: bool) -> TextDelta:
        """Return the gain; until the text is whole, half a character at its end waits."""
        stable = text if is_whole else text.rstrip("\N{REPLACEMENT CHARACTER}")
        gained = stable[len(self.seen) :]
        self.seen += gained
        total = len(self._codec.encode(self.seen)) if is_whole else self.num_tokens + 1
        num_tokens, self.num_tokens = total - self.num_tokens, total
        return TextDelta(0, gained, num_tokens)
