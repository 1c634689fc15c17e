"""One call, and the context that its handler gets: of `grpc.aio.ServicerContext` what we use."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NoReturn, Protocol

import structlog

from gateway.http2.server.handlers import Method
from gateway.http2.server.inbox import Inbox
from gateway.http2.server.metadata import Metadata, metadata_of
from gateway.http2.server.requests import Request
from gateway.http2.server.stream import ServerStream
from gateway.http2.status import Code, Status, StatusError

log = structlog.get_logger(__name__)


class Line(Protocol):
    """The connection that a call is on."""

    peer: str

    def begin(self, stream: ServerStream, metadata: Metadata) -> None:
        """Send the headers of a response."""

    def send(self, stream: ServerStream, message: bytes) -> bool:
        """Send a message; False if it has to wait, until the call is woken."""

    def finish(self, stream: ServerStream, status: Status, metadata: Metadata) -> None:
        """End a call, after all that still waits of it."""

    def cut(self, stream: ServerStream, status: Status) -> None:
        """End a call at once."""

    def read(self, stream: ServerStream, num_bytes: int) -> None:
        """Note that a message of so many bytes was read."""


class StatusCode(Protocol):
    """A `grpc.StatusCode`."""

    @property
    def value(self) -> tuple[int, str]: ...


class Aborted(Exception):
    """The handler has ended its call."""


class Call:
    """A call from its request to its status. Its handler is cancelled when nobody waits for it."""

    def __init__(self, line: Line, stream: ServerStream, request: Request, method: Method) -> None:
        self._line = line
        self._stream = stream
        self._request = request
        self._method = method
        self._serialize = method.serialize
        self._inbox = Inbox()
        self._is_over = False
        self._status = Status(Code.OK)
        self._trailing_metadata: Metadata = ()
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        if request.timeout_s is not None:
            self._deadline = self._loop.time() + request.timeout_s
            self._timer = self._loop.call_at(self._deadline, self.end, _OUT_OF_TIME)
        self.task: asyncio.Task[None] = self._loop.create_task(self._run())

    # What the handler does.

    async def write(self, message: Any) -> None:
        """Send a message, once the one before it has left: a slow reader slows its handler."""
        if self._is_over:
            raise asyncio.CancelledError
        if not self._stream.has_begun:
            self._line.begin(self._stream, ())
        if not self._line.send(self._stream, self._serialize(message)):
            self._waiter = self._loop.create_future()
            await self._waiter

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        """Begin the response."""
        if not self._is_over:
            self._line.begin(self._stream, metadata)

    async def abort(
        self, code: StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """End the call with a status. Raises, so that the handler ends as well."""
        self._status = Status(code.value[0], details)
        self._trailing_metadata = trailing_metadata or self._trailing_metadata
        raise Aborted

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        """Let the response end with it."""
        self._trailing_metadata = metadata

    def set_code(self, code: StatusCode) -> None:
        """Let the response end with that code."""
        self._status = self._status._replace(code=code.value[0])

    def set_details(self, details: str) -> None:
        """Let the response end with that message."""
        self._status = self._status._replace(details=details)

    def invocation_metadata(self) -> Metadata:
        """Return what the caller sent along."""
        return metadata_of(self._request.headers)

    def time_remaining(self) -> float | None:
        """Return what is left of the deadline, None without one."""
        return max(0.0, self._deadline - self._loop.time()) if self._timer else None

    def peer(self) -> str:
        """Return where the call comes from, as gRPC writes addresses."""
        return self._line.peer

    # What the connection does.

    def receive(self, message: bytes) -> None:
        """Take a message of the request."""
        self._inbox.put(message)

    def half_close(self) -> None:
        """Take the end of the request."""
        self._inbox.close()

    def wake(self) -> None:
        """Let the handler write again."""
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self, status: Status) -> None:
        """Cut the call off and tell the client why."""
        if not self._is_over:
            self._line.cut(self._stream, status)
            self.leave()

    def leave(self) -> None:
        """Cut the call off: the client does not wait for it any more."""
        self._is_over = True
        self._stop_timer()
        self.task.cancel()

    async def _run(self) -> None:
        try:
            request = self._requests() if self._method.takes_stream else await self._only_request()
            await self._method.run(request, self)
        except Aborted:
            pass
        except StatusError as error:
            self._status = Status(error.code, error.details)
        except Exception:
            log.exception("handler_failed", path=self._request.path)
            self._status = Status(Code.UNKNOWN, "the handler failed")
        except asyncio.CancelledError:
            self._status = Status(Code.CANCELLED, "the handler was cancelled")
            raise
        finally:
            self._conclude()

    def _conclude(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._stop_timer()
            self._line.finish(self._stream, self._status, self._trailing_metadata)

    async def _requests(self) -> AsyncIterator[Any]:
        while (message := await self._inbox.next()) is not None:
            yield self._read(message)

    async def _only_request(self) -> Any:
        message = await self._inbox.next()
        if message is None or await self._inbox.next() is not None:
            raise StatusError(Status(Code.UNIMPLEMENTED, "the method takes exactly one message"))
        return self._read(message)

    def _read(self, message: bytes) -> Any:
        self._line.read(self._stream, len(message))
        try:
            return self._method.parse(message)
        except Exception as error:
            raise StatusError(Status(Code.INTERNAL, f"no such message: {error}")) from error

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()


_OUT_OF_TIME = Status(Code.DEADLINE_EXCEEDED, "the deadline has passed")
