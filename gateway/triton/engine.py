"""The engine behind Triton's `tensorrt_llm` model: token ids in, token ids out."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

from gateway.engine import Feature
from gateway.errors import EngineFailure
from gateway.generation import Finished, Generation, Item, Lora
from gateway.triton.call import Asked, EngineRequest
from gateway.triton.channel import Batches
from gateway.triton.contract import Contract
from gateway.triton.deltas import DeltaReader
from gateway.triton.errors import ADAPTER_NOT_HELD
from gateway.triton.lora import adapter_tensors, task_tensor
from gateway.triton.replica import Replica
from gateway.triton.server import ServedModel
from gateway.triton.tensors import Tensor, encode_request


class TritonEngine(ServedModel):
    """Generates through `ModelStreamInfer`, one call a request, so that each can be cancelled."""

    def __init__(self, replica: Replica, contract: Contract, version: str) -> None:
        super().__init__(replica, version, contract.max_model_len)
        self.features: frozenset[Feature] = contract.features
        self._contract = contract
        self._adapters_held: set[int] = set()

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        request = EngineRequest.of(generation)
        reader = DeltaReader(generation, self.max_model_len, request.parse)
        called = self._called(generation, request)
        del generation  # and with it the prompt, while the answer lasts
        async with called as batches:
            async for messages in batches:
                for delta in reader.read(messages):
                    yield delta
                if reader.is_final:
                    cached_tokens = reader.reused_blocks * self._contract.tokens_per_block
                    yield Finished(reader.reasons, cached_tokens)
                    return
        raise request.cut_short()

    def _called(
        self, generation: Generation, request: EngineRequest
    ) -> AbstractAsyncContextManager[Batches]:
        if generation.lora:
            return aclosing(self._adapted(generation, request, generation.lora))
        return self._asked(generation, request)

    def _asked(
        self, generation: Generation, request: EngineRequest, adapter: Sequence[Tensor] = ()
    ) -> AbstractAsyncContextManager[Batches]:
        message = encode_request(generation, self._contract, request.id, adapter)
        return Asked(self.replica, message, request)

    async def _adapted(
        self, generation: Generation, request: EngineRequest, lora: Lora
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield what comes; the adapter goes along unless the engine still holds it."""
        if lora.task_id in self._adapters_held:
            try:
                held = self._accepted(generation, request, [task_tensor(lora)])
                async with aclosing(held) as batches:
                    async for messages in batches:
                        yield messages
                return
            except EngineFailure as error:
                if error.code != ADAPTER_NOT_HELD:
                    raise
                self._adapters_held.discard(lora.task_id)
        adapter = await asyncio.to_thread(adapter_tensors, lora)
        async with aclosing(self._accepted(generation, request, adapter)) as batches:
            async for messages in batches:
                self._adapters_held.add(lora.task_id)
                yield messages

    async def _accepted(
        self, generation: Generation, request: EngineRequest, adapter: Sequence[Tensor]
    ) -> AsyncGenerator[Sequence[bytes], None]:
        """Yield what comes; raise what the engine says first, if it is an error."""
        async with self._asked(generation, request, adapter) as batches:
            is_first = True
            async for messages in batches:
                if is_first:
                    request.parse(messages[0])
                    is_first = False
                yield messages
