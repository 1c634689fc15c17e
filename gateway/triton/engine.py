"""The engine behind Triton's `tensorrt_llm` model: token ids in, token ids out."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from gateway.engine import Feature
from gateway.errors import EngineFailure
from gateway.generation import Finished, Generation, Item, Lora
from gateway.triton.call import is_final, responses
from gateway.triton.channel import Channel
from gateway.triton.contract import Contract
from gateway.triton.ending import Ending
from gateway.triton.errors import ADAPTER_NOT_HELD
from gateway.triton.lora import adapter_tensors, task_tensor
from gateway.triton.server import ServedModel
from gateway.triton.tensors import DeltaReader, Tensor, encode_request


class TritonEngine(ServedModel):
    """Generates through `ModelStreamInfer`, one call a request, so that each can be cancelled."""

    def __init__(self, channel: Channel, contract: Contract, version: str) -> None:
        super().__init__(channel, contract.model, version, contract.max_model_len)
        self.features: frozenset[Feature] = contract.features
        self._contract = contract
        self._adapters_held: set[int] = set()

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        lora = generation.lora
        called = self._adapted(generation, lora) if lora else self._call(generation)
        endings = [Ending(generation, self.max_model_len) for _ in range(generation.num_sequences)]
        reader, reused_blocks = DeltaReader(generation.logprobs), 0
        async with aclosing(called) as arrivals:
            async for response in arrivals:
                if response.outputs:
                    delta = reader.read(response)
                    reused_blocks = reader.reused_blocks(response) or reused_blocks
                    yield endings[delta.index].trim(delta)
                if is_final(response):
                    cached_tokens = reused_blocks * self._contract.tokens_per_block
                    yield Finished(tuple(ending.reason for ending in endings), cached_tokens)
                    return

    def _call(
        self, generation: Generation, adapter: Sequence[Tensor] = ()
    ) -> AsyncGenerator[Any, None]:
        request = encode_request(generation, self._contract, uuid4().hex, adapter)
        return responses(self.channel, request, generation)

    async def _adapted(self, generation: Generation, lora: Lora) -> AsyncGenerator[Any, None]:
        """Yield the responses; the adapter goes along unless the engine still holds it."""
        if lora.task_id in self._adapters_held:
            try:
                async with aclosing(self._call(generation, [task_tensor(lora)])) as arrivals:
                    async for response in arrivals:
                        yield response
                return
            except EngineFailure as error:
                if error.code != ADAPTER_NOT_HELD:
                    raise
                self._adapters_held.discard(lora.task_id)
        adapter = await asyncio.to_thread(adapter_tensors, lora)
        async with aclosing(self._call(generation, adapter)) as arrivals:
            async for response in arrivals:
                self._adapters_held.add(lora.task_id)
                yield response
