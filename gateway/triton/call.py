"""One `ModelStreamInfer` call: a request in, its responses out, cancelled when left."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from secrets import token_hex
from typing import Any

import msgspec
import structlog
from tritonclient.grpc import service_pb2 as pb

from gateway.errors import EngineFailure, EngineUnavailable, GatewayError, InvalidGuide
from gateway.generation import Generation
from gateway.telemetry.metrics import REPLICA_EVENTS
from gateway.triton.channel import Batches, StreamCall
from gateway.triton.errors import error_from_message, translated
from gateway.triton.replica import NOTHING_COUNTED, Counted, Replica
from gateway.triton.replicas import Replicas
from gateway.triton.route import Route

log = structlog.get_logger(__name__)

Compose = Callable[[Replica], Awaitable[Any]]
"""Makes the `ModelInferRequest` for a replica, by its contract."""

# Field 1 of `ModelStreamInferResponse`, `error_message`; protobuf writes it first.
ERROR_TAG = bytes((1 << 3 | 2,))


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
        if not isinstance(error, InvalidGuide):
            return error
        if self.guide_source is None:
            log.error("ended_by_another", engine_request_id=self.id, engine_message=message)
            return EngineUnavailable("The engine ended all its requests.", retry_after_s=1)
        error.param = self.guide_source
        return error

    def cut_short(self) -> EngineFailure:
        """Return what to raise where a call ends before its final response."""
        log.error("stream_cut_short", engine_request_id=self.id)
        return EngineFailure("The engine ended the stream without finishing the answer.")


class Asked:
    """A generation on its way: inside, iterate over what comes of it; leaving cancels.

    Entering waits for the first message. Until then the generation goes to one replica after
    another, as far as `Replicas` let it: the request is composed for each. `replica` is the one
    that answers.

    Raises EngineUnavailable on entering where no replica serves; and, around the iterating too,
    the GatewayError that a status stands for.
    """

    __slots__ = ("_call", "_compose", "_counted", "_replicas", "_request", "_route", "replica")

    def __init__(
        self,
        replicas: Replicas,
        compose: Compose,
        request: EngineRequest,
        route: Route,
        counted: Counted = NOTHING_COUNTED,
    ) -> None:
        self._replicas = replicas
        self._compose: Compose | None = compose
        self._request = request
        self._route = route
        self._counted = counted
        self._call: StreamCall | None = None
        self.replica: Replica | None = None

    async def __aenter__(self) -> Batches:
        while True:
            self.replica = self._replicas.choose(self._route)
            try:
                return await self._open(self.replica)
            except GatewayError as error:
                if not self._replicas.may_repeat(self._route, self.replica, error):
                    raise

    def may_resume(self, error: GatewayError) -> bool:
        """Tell whether what is left of the answer may be asked of another replica."""
        if self._compose or not self.replica:  # nothing had come: it was decided on entering
            return False
        return self._replicas.may_repeat(self._route, self.replica, error)

    def again(self, compose: Compose) -> "Asked":
        """Return the call for what is left of the answer."""
        REPLICA_EVENTS.labels("resumed").inc()
        return Asked(self._replicas, compose, self._request, self._route, self._counted)

    def finish(self, num_tokens: int, told_tokens: int | None) -> None:
        """Note the end of the answer, with the tokens of its prompt that the engine reused."""
        if self.replica:
            self._replicas.finish(self._route, self.replica, num_tokens, told_tokens)

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._leave(error)

    async def _open(self, replica: Replica) -> Batches:
        assert self._compose
        message = await self._compose(replica)
        self._call = call = self._replicas.open(
            self._route, replica, self._counted, self._request.is_streamed
        )
        try:
            await call.write(message)
            del message
            await call.done_writing()
            if not self._route.may_repeat:
                self._compose = None  # nor keep its prompt while the answer lasts
            first = await call.peek()
            if first.startswith(ERROR_TAG):
                self._request.parse(first)
        except BaseException as error:
            self._leave(error)
            raise
        self._compose = None
        replica.begin(call)
        if self._route.lora:
            replica.adapters_held.add(self._route.lora.task_id)
        return call

    def _leave(self, error: BaseException | None) -> None:
        call, self._call = self._call, None
        if not call or not self.replica:
            return
        told = translated(error, self._request.id)
        if told := self._replicas.leave(self._route, self.replica, call, told or error) or told:
            raise told from error


async def responses(asked: Asked, request: EngineRequest) -> AsyncGenerator[Any, None]:
    """Yield every `ModelInferResponse` to a request; the last has `is_final`.

    Raises what `Asked` and `EngineRequest` raise.
    """
    async with asked as batches:
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
