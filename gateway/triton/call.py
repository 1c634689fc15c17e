"""One `ModelStreamInfer` call: a request in, its responses out, cancelled when left."""

from collections.abc import AsyncGenerator
from typing import Any

import structlog

from gateway.errors import EngineFailure, GatewayError, InvalidGuide
from gateway.generation import Generation
from gateway.triton.channel import Channel
from gateway.triton.errors import error_from_message, translated

log = structlog.get_logger(__name__)


async def responses(
    channel: Channel, request: Any, generation: Generation
) -> AsyncGenerator[Any, None]:
    """Yield every `ModelInferResponse` to a request; the last has `is_final`.

    Closing the generator cancels the call. Raises the GatewayError that a status or an in-band
    error stands for, EngineFailure for a stream that ends before its final response.
    """
    call = channel.stream()
    try:
        with translated(request.id):
            await call.write(request)
            await call.done_writing()
            async for message in call:
                if message.error_message:
                    raise _error(message.error_message, request.id, generation)
                yield message.infer_response
                if is_final(message.infer_response):
                    return
        log.error("stream_cut_short", engine_request_id=request.id)
        raise EngineFailure("The engine ended the stream without finishing the answer.")
    finally:
        call.cancel()


def _error(message: str, request_id: str, generation: Generation) -> GatewayError:
    error = error_from_message(message, request_id)
    if isinstance(error, InvalidGuide) and generation.guide:
        error.param = generation.guide.source
    return error


def is_final(response: Any) -> bool:
    """Tell whether this response is the last of its request."""
    return bool(response.parameters["triton_final_response"].bool_param)
