"""The methods of services, as gRPC's generated code hands them over: found by path, and run."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple, Protocol

Parse = Callable[[bytes], Any]
Serialize = Callable[[Any], bytes]


class MethodHandler(Protocol):
    """A `grpc.RpcMethodHandler`; of its four behaviours one is set."""

    request_streaming: bool
    response_streaming: bool
    request_deserializer: Parse | None
    response_serializer: Serialize | None
    unary_unary: Callable[..., Any] | None
    unary_stream: Callable[..., Any] | None
    stream_unary: Callable[..., Any] | None
    stream_stream: Callable[..., Any] | None


class GenericHandler(Protocol):
    """A `grpc.GenericRpcHandler`."""

    def service(self, details: "CallDetails") -> MethodHandler | None:
        """Return what handles a call, if it is one of its own."""


class CallDetails(NamedTuple):
    """What a generic handler is asked for."""

    method: str
    invocation_metadata: Sequence[tuple[str, str | bytes]]


class Writing(Protocol):
    """A call, as far as its method's messages go."""

    async def write(self, message: Any) -> None:
        """Send a message."""


class Method(NamedTuple):
    """A method, ready to be called with a request, or an iterator of them, and the context."""

    run: Callable[[Any, Writing], Awaitable[None]]
    parse: Parse
    serialize: Serialize
    takes_stream: bool


def find(handlers: Sequence[GenericHandler], details: CallDetails) -> Method | None:
    """Return the method that a call is for."""
    for generic in handlers:
        if handler := generic.service(details):
            return method_of(handler)
    return None


def method_of(handler: MethodHandler) -> Method:
    """Return a handler's method; its behaviour is a coroutine or an asynchronous generator."""
    kinds = (
        handler.unary_unary,
        handler.unary_stream,
        handler.stream_unary,
        handler.stream_stream,
    )
    behaviour = next(kind for kind in kinds if kind)
    return Method(
        _run(behaviour, handler.response_streaming),
        handler.request_deserializer or bytes,
        handler.response_serializer or bytes,
        handler.request_streaming,
    )


def _run(
    behaviour: Callable[..., Any], gives_stream: bool
) -> Callable[[Any, Writing], Awaitable[None]]:
    async def answer(request: Any, call: Writing) -> None:
        # None where the handler has set a status instead.
        if (message := await behaviour(request, call)) is not None:
            await call.write(message)

    async def generate(request: Any, call: Writing) -> None:
        async with aclosing(behaviour(request, call)) as messages:
            async for message in messages:
                await call.write(message)

    if inspect.isasyncgenfunction(behaviour):
        return generate
    return behaviour if gives_stream else answer
