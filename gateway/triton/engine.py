"""The engine behind Triton's `tensorrt_llm` model: token ids in, token ids out, one stream each."""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import grpc
import structlog

from gateway.engine import Feature
from gateway.errors import EngineFailure, EngineUnavailable
from gateway.generation import Delta, Finished, FinishReason, Generation, Item
from gateway.triton.channel import Channel
from gateway.triton.contract import Contract, ContractMismatch, read_contract
from gateway.triton.errors import error_from_message, translated
from gateway.triton.tensors import decode_cached_tokens, decode_delta, encode_request

log = structlog.get_logger(__name__)


class TritonEngine:
    """Generates through `ModelStreamInfer`, one call a request, so that each can be cancelled."""

    def __init__(self, channel: Channel, contract: Contract, version: str) -> None:
        self.version = version
        self._channel = channel
        self._contract = contract

    @property
    def max_model_len(self) -> int:
        return self._contract.max_model_len

    @property
    def features(self) -> frozenset[Feature]:
        return self._contract.features

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        request_id = uuid4().hex
        request = encode_request(generation, self._contract, request_id)
        endings = [_Ending(generation, self.max_model_len) for _ in range(generation.num_sequences)]
        cached_tokens = 0
        call = self._channel.stream()
        try:
            with translated(request_id):
                await call.write(request)
                await call.done_writing()
                async for message in call:
                    response = _checked(message, request_id)
                    if response.outputs:
                        delta = decode_delta(response, generation.logprobs)
                        cached_tokens = (
                            decode_cached_tokens(response, self._contract) or cached_tokens
                        )
                        yield endings[delta.index].trim(delta)
                    if response.parameters["triton_final_response"].bool_param:
                        yield Finished(tuple(end.reason for end in endings), cached_tokens)
                        return
            log.error("stream_cut_short", engine_request_id=request_id)
            raise EngineFailure("The engine ended the stream without finishing the answer.")
        finally:
            call.cancel()

    async def check_ready(self) -> None:
        try:
            is_ready = await self._channel.is_model_ready(self._contract.model)
        except grpc.RpcError as error:
            raise EngineUnavailable(
                f"Triton at {self._channel.address} cannot be reached."
            ) from error
        if not is_ready:
            raise EngineUnavailable(f"Triton's model {self._contract.model!r} is not ready.")

    async def close(self) -> None:
        await self._channel.close()


def _checked(message: Any, request_id: str) -> Any:
    if message.error_message:
        raise error_from_message(message.error_message, request_id)
    return message.infer_response


class _Ending:
    """Infers why one sequence ended, which Triton's contract does not say.

    The engine drops `end_id` and echoes any other end token; a sequence without either that is
    as long as it may be was cut off.
    """

    def __init__(self, generation: Generation, max_model_len: int) -> None:
        room = max_model_len - len(generation.prompt.token_ids)
        self._end_ids = frozenset(generation.end_ids)
        self._left = min(generation.max_tokens, room)
        self._met_end = False

    @property
    def reason(self) -> FinishReason:
        is_cut = self._left <= 0 and not self._met_end
        return FinishReason.LENGTH if is_cut else FinishReason.STOP

    def trim(self, delta: Delta) -> Delta:
        """Return the delta without the end token, if it closes with one."""
        token_ids = delta.token_ids
        self._left -= len(token_ids)
        if not token_ids or token_ids[-1] not in self._end_ids:
            return delta
        self._met_end = True
        return Delta(delta.index, token_ids[:-1], delta.logprobs[:-1])


async def connect(
    address: str, model: str, vocab_size: int, max_model_len: int | None = None
) -> TritonEngine:
    """Probe the model's contract and return an engine that speaks it.

    Raises ContractMismatch naming the tensor or setting at fault, EngineUnavailable when there
    is no such Triton or model.
    """
    channel = Channel(address)
    try:
        contract = read_contract(await channel.config(model), vocab_size, max_model_len)
        version = f"{await channel.server_version()} {sorted(contract.parameters.items())}"
        return TritonEngine(channel, contract, version)
    except grpc.RpcError as error:
        await channel.close()
        raise EngineUnavailable(
            f"Triton at {address} does not answer for model {model!r}: {error.details()}"
        ) from error
    except ContractMismatch:
        await channel.close()
        raise
