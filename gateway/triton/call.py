"""One `ModelStreamInfer` call: a request in, its responses out, cancelled when left."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import structlog
from tritonclient.grpc import service_pb2 as pb

from gateway.errors import EngineFailure, GatewayError, InvalidGuide
from gateway.generation import Generation
from gateway.triton.channel import Batches, Channel
from gateway.triton.errors import error_from_message, translated

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The id by which Triton knows a generation, and the parameter its guide came from."""

    id: str
    guide_source: str | None = None

    @classmethod
    def of(cls, generation: Generation) -> "EngineRequest":
        """Return a new request for a generation; it does not hold its prompt."""
        return cls(uuid4().hex, generation.guide.source if generation.guide else None)

    def parse(self, message: bytes) -> Any:
        """Return the `ModelInferResponse` in a message. Raises the GatewayError of an error."""
        streamed = pb.ModelStreamInferResponse.FromString(message)
        if streamed.error_message:
            raise self._error(streamed.error_message)
        return streamed.infer_response

    def _error(self, message: str) -> GatewayError:
        error = error_from_message(message, self.id)
        if isinstance(error, InvalidGuide) and self.guide_source:
            error.param = self.guide_source
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
            del request  # and with it the prompt, while the answer lasts
            yield call
    finally:
        call.cancel()


async def responses(
    channel: Channel, request: Any, engine_request: EngineRequest
) -> AsyncGenerator[Any, None]:
    """Yield every `ModelInferResponse` to a message of a request; the last has `is_final`.

    Raises what `asked` and `EngineRequest` raise.
    """
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
