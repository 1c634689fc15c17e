"""The engine behind Triton's `tensorrt_llm` model: token ids in, token ids out."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import uuid4

from gateway.engine import Feature
from gateway.generation import Finished, Generation, Item
from gateway.triton.call import is_final, responses
from gateway.triton.channel import Channel
from gateway.triton.contract import Contract
from gateway.triton.ending import Ending
from gateway.triton.server import ServedModel
from gateway.triton.tensors import DeltaReader, encode_request


class TritonEngine(ServedModel):
    """Generates through `ModelStreamInfer`, one call a request, so that each can be cancelled."""

    def __init__(self, channel: Channel, contract: Contract, version: str) -> None:
        super().__init__(channel, contract.model, version, contract.max_model_len)
        self.features: frozenset[Feature] = contract.features
        self._contract = contract

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        request = encode_request(generation, self._contract, uuid4().hex)
        endings = [Ending(generation, self.max_model_len) for _ in range(generation.num_sequences)]
        reader, reused_blocks = DeltaReader(generation.logprobs), 0
        async with aclosing(responses(self.channel, request, generation)) as arrivals:
            async for response in arrivals:
                if response.outputs:
                    delta = reader.read(response)
                    reused_blocks = reader.reused_blocks(response) or reused_blocks
                    yield endings[delta.index].trim(delta)
                if is_final(response):
                    cached_tokens = reused_blocks * self._contract.tokens_per_block
                    yield Finished(tuple(ending.reason for ending in endings), cached_tokens)
                    return
