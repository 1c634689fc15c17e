"""One `ModelStreamInfer` call: a request in, its responses out, cancelled when left."""

from collections.abc import AsyncGenerator
from secrets import token_hex
from typing import Any

import msgspec
import structlog
from tritonclient.grpc import service_pb2 as pb

from gateway.errors import EngineFailure, GatewayError, InvalidGuide
from gateway.generation import Generation
from gateway.triton.channel import Batches
from gateway.triton.errors import error_from_message, translated
from gateway.triton.replica import Replica

log = structlog.get_logger(__name__)


class EngineRequest(msgspec.Struct, frozen=True):
    """The id by which Triton knows a generation, and the parameter its guide came from.

    Where it `is_streamed`, messages come as tokens do, not once at the end.
    """

    id: str
    guide_source: str | None = None
    is_streamed: bool = True

    @classmethod
    def of(cls, generation: Generation) -> "EngineRequest":
        """Return a new request for a generation; it does not hold its prompt."""
        source = generation.guide.source if generation.guide else None
        return cls(token_hex(16), source, generation.streaming)

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


class Asked:
    """A `ModelInferRequest` on its way: inside, iterate over what comes of it; leaving cancels.

    Raises EngineUnavailable when made while the replica is retired; and, around the iterating
    too, the GatewayError that a status stands for.
    """

    __slots__ = ("_call", "_message", "_replica", "_request")

    def __init__(self, replica: Replica, message: Any, request: EngineRequest) -> None:
        self._replica = replica
        self._call = replica.stream(request.is_streamed)
        self._message = message
        self._request = request

    async def __aenter__(self) -> Batches:
        message, self._message = self._message, None  # nor keep its prompt while the answer lasts
        try:
            await self._call.write(message)
            await self._call.done_writing()
        except BaseException as error:
            self._leave(error)
            raise
        return self._call

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._leave(error)

    def _leave(self, error: BaseException | None) -> None:
        told = translated(error, self._request.id)
        if told := self._replica.leave(self._call, told or error) or told:
            raise told from error


async def responses(
    replica: Replica, message: Any, request: EngineRequest
) -> AsyncGenerator[Any, None]:
    """Yield every `ModelInferResponse` to a message of a request; the last has `is_final`.

    Raises what `Asked` and `EngineRequest` raise.
    """
    async with Asked(replica, message, request) as batches:
        async for messages in batches:
            for each in messages:
                response = request.parse(each)
                yield response
                if is_final(response):
                    return
    raise request.cut_short()


def is_final(response: Any) -> bool:
    """Tell whether this response is the last of its request."""
    return bool(response.parameters["triton_final_response"].bool_param)
