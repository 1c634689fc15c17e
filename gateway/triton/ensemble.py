"""The engine behind an `ensemble`: any tensorrtllm_backend deployment, spoken to with text.

Its postprocessing decodes every response by itself, so a character split over tokens is lost
before it gets here; `tensorrt_llm` spoken to directly does not lose it.
"""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.engine import Feature
from gateway.generation import Finished, Generation, Item, TextDelta
from gateway.triton.call import Asked, EngineRequest, is_final, responses
from gateway.triton.contract import ContractMismatch, read_max_model_len
from gateway.triton.ending import Endings
from gateway.triton.replica import Replica
from gateway.triton.replicas import Replicas
from gateway.triton.server import ServedModel, work_of
from gateway.triton.tensors import (
    ONE,
    Tensor,
    boolean,
    build_request,
    first_int32,
    fp32,
    int32,
    raw_outputs,
)
from gateway.triton.text import TextCodec, read_string, strings, unopened

FEATURE_INPUTS = {
    Feature.NUM_SEQUENCES: "num_return_sequences",
    Feature.GUIDED_DECODING: "guided_decoding_guide",
    Feature.REPETITION_PENALTY: "repetition_penalty",
    Feature.STOP_TOKEN_IDS: "stop_words",
    Feature.BAD_WORDS: "bad_words",
}


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What an ensemble takes, and what its steps are set to.

    Source: inflight_batcher_llm/ensemble/config.pbtxt of tensorrtllm_backend.
    """

    model: str
    inputs: frozenset[str]
    max_model_len: int
    adds_special_tokens: bool

    @property
    def features(self) -> frozenset[Feature]:
        found = {feature for feature, name in FEATURE_INPUTS.items() if name in self.inputs}
        return frozenset(found | {Feature.MIN_TOKENS})

    def takes(self, tensor: str) -> bool:
        return tensor in self.inputs


def read_ensemble(config: Any, steps: Sequence[Any], max_model_len: int | None) -> Ensemble:
    """Return the contract in the `ModelConfig` of an ensemble and of its steps.

    Raises ContractMismatch naming the tensor or setting at fault.
    """
    inputs = frozenset(tensor.name for tensor in config.input)
    parameters = {
        name: value.string_value for step in steps for name, value in step.parameters.items()
    }
    problem = _problem(inputs, steps)
    if problem:
        raise ContractMismatch(f"Triton's model {config.name!r} {problem}")
    limit = read_max_model_len(config.name, parameters, max_model_len)
    added = parameters.get("add_special_tokens", "true").lower()
    return Ensemble(config.name, inputs, limit, adds_special_tokens=added not in ("false", "0"))


def _problem(inputs: frozenset[str], steps: Sequence[Any]) -> str | None:
    for name in ("text_input", "max_tokens", "stream"):
        if name not in inputs:
            return f"has no input tensor {name!r}"
    if not any(step.model_transaction_policy.decoupled for step in steps):
        return "is not decoupled, so it cannot stream: deploy tensorrt_llm with decoupled_mode:true"
    return None


class EnsembleEngine(ServedModel):
    """Generates text from text. Always streams: a response is a token, so tokens are counted."""

    def __init__(self, replicas: Replicas, codec: TextCodec) -> None:
        super().__init__(replicas)
        self._codec = codec

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        request = EngineRequest.of(generation)
        endings = Endings(generation, self.max_model_len)
        compose = partial(self._compose, generation, request)
        route = self.replicas.route(work_of(generation))
        asked = Asked(self.replicas, compose, request, route, endings)
        del generation, compose
        async with aclosing(responses(asked, request)) as arrivals:
            async for response in arrivals:
                raw = raw_outputs(response)
                if text := read_string(raw["text_output"]) if "text_output" in raw else "":
                    index = first_int32(raw["sequence_index"]) if "sequence_index" in raw else 0
                    endings.each[index].count(1)
                    yield TextDelta(index, text, 1)
                if is_final(response):
                    asked.finish(endings.num_tokens, None)
                    yield Finished(tuple(ending.reason for ending in endings.each))
                    return

    async def _compose(
        self, generation: Generation, request: EngineRequest, replica: Replica
    ) -> Any:
        ensemble = replica.contract
        assert isinstance(ensemble, Ensemble)
        tensors = self._tensors(generation, ensemble)
        return build_request(ensemble.model, request.id, tensors, ensemble.takes)

    def _tensors(self, generation: Generation, ensemble: Ensemble) -> Iterator[Tensor]:
        sampling = generation.sampling
        is_greedy = sampling.temperature == 0.0
        yield strings("text_input", [self._text(generation, ensemble)], ONE)
        yield int32("max_tokens", generation.max_tokens)
        yield boolean("stream", True)
        yield boolean("exclude_input_in_output", True)
        yield fp32("temperature", 1.0 if is_greedy else sampling.temperature)
        yield int32("top_k", 1 if is_greedy else sampling.top_k)
        yield fp32("top_p", sampling.top_p)
        for name in ("seed", "random_seed"):
            yield name, "UINT64", ONE, sampling.seed.to_bytes(8, "little")
        if sampling.repetition_penalty != 1.0:
            yield fp32("repetition_penalty", sampling.repetition_penalty)
        if sampling.presence_penalty:
            yield fp32("presence_penalty", sampling.presence_penalty)
        if sampling.frequency_penalty:
            yield fp32("frequency_penalty", sampling.frequency_penalty)
        yield from self._limits(generation)

    def _limits(self, generation: Generation) -> Iterator[Tensor]:
        yield int32("end_id", generation.end_ids[0] if generation.end_ids else -1)
        if further := [self._spell((token_id,)) for token_id in generation.end_ids[1:]]:
            yield strings("stop_words", further, (1, len(further)))
        if bad := [self._spell(word) for word in generation.bad_words]:
            yield strings("bad_words", bad, (1, len(bad)))
        if generation.min_tokens:
            yield int32("min_tokens", generation.min_tokens)
            yield int32("min_length", generation.min_tokens)
        if generation.num_sequences > 1:
            yield int32("num_return_sequences", generation.num_sequences)
        if guide := generation.guide:
            yield strings("guided_decoding_guide_type", [guide.kind.value], ONE)
            yield strings("guided_decoding_guide", [guide.text], ONE)

    def _text(self, generation: Generation, ensemble: Ensemble) -> str:
        """The prompt without the BOS that the deployment's preprocessing puts before it."""
        if not ensemble.adds_special_tokens:
            return generation.prompt.text
        return unopened(generation.prompt, self._codec)

    def _spell(self, token_ids: Sequence[int]) -> str:
        return self._codec.decode(token_ids, skip_special=False)
