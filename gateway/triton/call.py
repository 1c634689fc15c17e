"""One `ModelStreamInfer` call: a request in, its responses out, cancelled when left."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import structlog
from tritonclient.grpc import service_pb2 as pb

from gateway.errors import EngineFailure, GatewayError, InvalidGuide
from gateway.generation import Generation
from gateway.triton.channel import Channel
from gateway.triton.errors import error_from_message, translated

log = structlog.get_logger(__name__)


Batches = AsyncGenerator[Sequence[bytes], None]
"""Serialised `ModelStreamInferResponse`s, those together that are there."""


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


async def arrivals(channel: Channel, request: Any) -> Batches:
    """Yield what comes of a `ModelInferRequest`.

    Closing the generator cancels the call. Raises the GatewayError that a status stands for,
    EngineFailure for a stream that ends before its reader left it at the final response.
    """
    call = channel.stream()
    try:
        with translated(request.id):
            await call.write(request)
            await call.done_writing()
            async for messages in call:
                yield messages
        log.error("stream_cut_short", engine_request_id=request.id)
        raise EngineFailure("The engine ended the stream without finishing the answer.")
    finally:
        call.cancel()


async def responses(
    channel: Channel, request: Any, generation: Generation
) -> AsyncGenerator[Any, None]:
    """Yield every `ModelInferResponse` to a request; the last has `is_final`.

    Raises what `arrivals` and `EngineRequest.parse` raise.
    """
    asked = EngineRequest(generation, request.id)
    async with aclosing(arrivals(channel, request)) as batches:
        async for messages in batches:
            for message in messages:
                response = asked.parse(message)
                yield response
                if is_final(response):
                    return


def is_final(response: Any) -> bool:
    """Tell whether this response is the last of its request."""
    return bool(response.parameters["triton_final_response"].bool_param)
