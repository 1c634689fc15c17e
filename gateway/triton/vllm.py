"""The engine behind the `vllm` model of Triton's vLLM backend, spoken to with text.

It encodes the text with special tokens, takes what vLLM calls SamplingParams as JSON, and streams
what the text gained. Sources: src/model.py (00ea75b), src/utils/request.py (11c4e0f) and
src/utils/vllm_backend_utils.py (0881a8a) of triton-inference-server/vllm_backend.
"""

import json
import struct
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.engine import Feature
from gateway.generation import (
    Finished,
    FinishReason,
    Generation,
    Guide,
    GuideKind,
    Item,
    TextDelta,
)
from gateway.triton.call import Asked, EngineRequest, is_final, responses
from gateway.triton.contract import ContractMismatch, read_max_model_len
from gateway.triton.replica import Replica
from gateway.triton.replicas import Replicas
from gateway.triton.server import ServedModel, work_of
from gateway.triton.tensors import Tensor, build_request, raw_outputs
from gateway.triton.text import TextCodec, read_string, strings, unopened

ONE = (1,)
FEATURES = frozenset(
    {
        Feature.MIN_TOKENS,
        Feature.MIN_P,
        Feature.REPETITION_PENALTY,
        Feature.STOP_TOKEN_IDS,
        Feature.BAD_WORDS,
        Feature.GUIDED_DECODING,
    }
)
GUIDES = {GuideKind.REGEX: "regex", GuideKind.EBNF_GRAMMAR: "grammar"}


@dataclass(frozen=True, slots=True)
class Vllm:
    """What a model of the vLLM backend takes; older ones tell less of what they did."""

    model: str
    inputs: frozenset[str]
    max_model_len: int

    @property
    def features(self) -> frozenset[Feature]:
        return FEATURES

    def takes(self, tensor: str) -> bool:
        return tensor in self.inputs


def read_vllm(config: Any, max_model_len: int | None) -> Vllm:
    """Return the contract in the `ModelConfig` of a model of the vLLM backend.

    Raises ContractMismatch naming the setting at fault.
    """
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    limit = read_max_model_len(config.name, parameters, max_model_len)
    inputs = frozenset(tensor.name for tensor in config.input)
    if not config.model_transaction_policy.decoupled:
        raise ContractMismatch(f"Triton's model {config.name!r} is not decoupled: it cannot stream")
    if "stream" not in inputs:
        raise ContractMismatch(f"Triton's model {config.name!r} has no input tensor 'stream'")
    return Vllm(config.name, inputs, limit)


class VllmEngine(ServedModel):
    """Generates text from text. Always streams; tokens are those that it tells, or responses."""

    def __init__(self, replicas: Replicas, codec: TextCodec) -> None:
        super().__init__(replicas)
        self._codec = codec

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        request, text = EngineRequest.of(generation), TextSoFar(generation.max_tokens)
        compose = partial(self._compose, generation, request)
        route = self.replicas.route(work_of(generation))
        asked = Asked(self.replicas, compose, request, route, text)
        del generation, compose
        async with aclosing(responses(asked, request)) as arrivals:
            async for response in arrivals:
                raw = raw_outputs(response)
                if "text_output" in raw:
                    yield text.grow(raw)
                if is_final(response):
                    asked.finish(text.num_tokens, None)
                    yield Finished((text.reason,))
                    return

    async def _compose(
        self, generation: Generation, request: EngineRequest, replica: Replica
    ) -> Any:
        vllm = replica.contract
        assert isinstance(vllm, Vllm)
        return build_request(vllm.model, request.id, self._tensors(generation), vllm.takes)

    def _tensors(self, generation: Generation) -> Iterator[Tensor]:
        yield strings("text_input", [unopened(generation.prompt, self._codec)], ONE)
        yield "stream", "BOOL", ONE, b"\1"
        yield strings("sampling_parameters", [json.dumps(self._parameters(generation))], ONE)
        for name in ("exclude_input_in_output", "return_finish_reason", "return_num_output_tokens"):
            yield name, "BOOL", ONE, b"\1"

    def _parameters(self, generation: Generation) -> dict[str, Any]:
        """Only the gateway's end tokens end an answer, not those that vLLM knows of."""
        sampling = generation.sampling
        parameters: dict[str, Any] = {
            "max_tokens": generation.max_tokens,
            "min_tokens": generation.min_tokens,
            "temperature": 0.0 if sampling.is_greedy else sampling.temperature,
            "top_p": sampling.top_p or 1.0,
            "top_k": sampling.top_k,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
            "seed": sampling.seed & (2**63 - 1),
            "ignore_eos": True,
            "stop_token_ids": list(generation.end_ids),
        }
        if generation.bad_words:
            spell = self._codec.decode
            parameters["bad_words"] = [spell(word) for word in generation.bad_words]
        if generation.guide:
            parameters["guided_decoding"] = json.dumps(_guide(generation.guide))
        return parameters


class TextSoFar:
    """What came, counted: tokens as the model tells them, a token a response where it does not."""

    def __init__(self, max_tokens: int) -> None:
        self.num_tokens = 0
        self._max_tokens = max_tokens
        self._told = ""

    def grow(self, raw: Mapping[str, bytes]) -> TextDelta:
        """Return what a response adds."""
        count = 1
        if "num_output_tokens" in raw:
            (count,) = struct.unpack_from("<I", raw["num_output_tokens"])
        self.num_tokens += count
        if "finish_reason" in raw:
            self._told = read_string(raw["finish_reason"])
        return TextDelta(0, read_string(raw["text_output"]), count)

    @property
    def reason(self) -> FinishReason:
        """Why it ended: as told, or by its length where that is not told."""
        is_cut = self._told == "length" if self._told else self.num_tokens >= self._max_tokens
        return FinishReason.LENGTH if is_cut else FinishReason.STOP


def _guide(guide: Guide) -> dict[str, Any]:
    """Return the guide as vLLM's parameters of structured outputs have it."""
    if guide.kind is GuideKind.JSON:
        return {"json_object": True}
    if guide.kind is GuideKind.JSON_SCHEMA:
        return {"json": json.loads(guide.text)}
    return {GUIDES[guide.kind]: guide.text}
