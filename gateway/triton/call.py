"""One `ModelStreamInfer` call: a request in, its responses out, cancelled when left."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from tritonclient.grpc import service_pb2 as pb

from gateway.errors import EngineFailure, GatewayError, InvalidGuide
from gateway.generation import Generation
from gateway.triton.channel import Batches, Channel
from gateway.triton.errors import error_from_message, translated

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A generation, and the id by which Triton knows it."""

    generation: Generation
    id: str

    def parse(self, message: bytes) -> Any:
        """Return the `ModelInferResponse` in a message. Raises the GatewayError of an error."""
        streamed = pb.ModelStreamInferResponse.FromString(message)
        if streamed.error_message:
            raise self._error(streamed.error_message)
        return streamed.infer_response

    def _error(self, message: str) -> GatewayError:
        error = error_from_message(message, self.id)
        if isinstance(error, InvalidGuide) and self.generation.guide:
            error.param = self.generation.guide.source
        return error

    def cut_short(self) -> EngineFailure:
        """Return what to raise where a call ends before its final response."""
        log.error("stream_cut_short", engine_request_id=self.id)
        return EngineFailure("The engine ended the stream without finishing the answer.")


@asynccontextmanager
async def asked(channel: Channel, request: Any) -> AsyncIterator[Batches]:
    """Send a `ModelInferRequest`; iterate over what comes of it. Leaving cancels the call.

    Raises, around the iterating too, the GatewayError that a status stands for.
    """
    call = channel.stream()
    try:
        with translated(request.id):
            await call.write(request)
            await call.done_writing()
            yield call
    finally:
        call.cancel()


async def responses(
    channel: Channel, request: Any, generation: Generation
) -> AsyncGenerator[Any, None]:
    """Yield every `ModelInferResponse` to a request; the last has `is_final`.

    Raises what `asked` and `EngineRequest` raise.
    """
    engine_request = EngineRequest(generation, request.id)
    async with asked(channel, request) as batches:
        async for messages in batches:
            for message in messages:
                response = engine_request.parse(message)
                yield response
                if is_final(response):
                    return
    raise engine_request.cut_short()


def is_final(response: Any) -> bool:
    """Tell whether this response is the last of its request."""
    return bool(response.parameters["triton_final_response"].bool_param)
