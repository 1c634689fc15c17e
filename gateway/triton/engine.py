"""The engine behind Triton's `tensorrt_llm` model: token ids in, token ids out."""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from gateway.errors import EngineError
from gateway.generation import Finished, Generation, Item
from gateway.triton.call import Asked, EngineRequest
from gateway.triton.contract import Contract
from gateway.triton.deltas import DeltaReader
from gateway.triton.lora import adapter_tensors, path_tensors, task_tensor
from gateway.triton.prefixes import Mark, marks_of
from gateway.triton.replica import Replica
from gateway.triton.resumption import Resumption
from gateway.triton.server import ServedModel, work_of
from gateway.triton.tensors import encode_request, int32s


class TritonEngine(ServedModel):
    """Generates through `ModelStreamInfer`, one call a request, so that each can be cancelled."""

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        request = EngineRequest.of(generation)
        reader = DeltaReader(generation, self.max_model_len, request.parse)
        asked = self._asked(generation, request, reader)
        resumption = Resumption.of(generation) if self.replicas.is_pool else None
        prompt_tokens = len(generation.prompt.token_ids)
        del generation  # and with it the prompt, while the answer lasts
        while True:
            try:
                async with asked as batches:
                    async for messages in batches:
                        for delta in reader.read(messages):
                            yield delta
                        if reader.is_final:
                            cached_tokens = min(self._finish(asked, reader), prompt_tokens)
                            yield Finished(reader.reasons, cached_tokens)
                            return
                raise request.cut_short()
            except EngineError as error:
                if not resumption or not asked.may_resume(error):
                    raise
            if reader.is_over:
                yield Finished(reader.reasons)
                return
            reader.resume()
            rest = resumption.rest(reader.token_ids)
            asked = self._asked(rest, request, reader, asked)

    def _asked(
        self,
        generation: Generation,
        request: EngineRequest,
        reader: DeltaReader,
        earlier: Asked | None = None,
    ) -> Asked:
        compose = partial(self._compose, generation, request)
        if earlier:
            return earlier.again(compose)
        marks: tuple[Mark, ...] = ()
        if self.replicas.is_pool:
            marks = marks_of(int32s(generation.prompt.token_ids), generation.end_ids)
        route = self.replicas.route(work_of(generation, marks), generation.lora)
        return Asked(self.replicas, compose, request, route, reader)

    async def _compose(
        self, generation: Generation, request: EngineRequest, replica: Replica
    ) -> Any:
        """Return the request for a replica; the adapter goes along unless it is held there."""
        contract = replica.contract
        assert isinstance(contract, Contract)
        if not (lora := generation.lora):
            return encode_request(generation, contract, request.id)
        if contract.finds_adapters:
            return encode_request(generation, contract, request.id, path_tensors(lora))
        if lora.task_id in replica.adapters_held:
            return encode_request(generation, contract, request.id, [task_tensor(lora)])
        adapter = await asyncio.to_thread(adapter_tensors, lora)
        return encode_request(generation, contract, request.id, adapter)

    def _finish(self, asked: Asked, reader: DeltaReader) -> int:
        """Note the end of an answer; return how much of its prompt was reused, in tokens."""
        contract = asked.replica.contract if asked.replica else None
        assert isinstance(contract, Contract)
        cached_tokens = reader.reused_blocks * contract.tokens_per_block
        tells = "kv_cache_reused_blocks" in contract.outputs
        asked.finish(reader.num_tokens, cached_tokens if tells else None)
        return cached_tokens
