"""One call, and the context that its handler gets: of `grpc.aio.ServicerContext` what we use."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any, NoReturn, Protocol

import structlog

from gateway.http2.server.handlers import Method
from gateway.http2.server.inbox import Inbox
from gateway.http2.server.limits import Limits
from gateway.http2.server.metadata import Metadata, metadata_of
from gateway.http2.server.requests import Request
from gateway.http2.server.stream import ServerStream
from gateway.http2.status import Code, Status, StatusError

log = structlog.get_logger(__name__)

GRACE_S = 10.0
"""For a client to read, where the time of its call is over already."""


class Line(Protocol):
    """The connection that a call is on."""

    peer: str
    limits: Limits

    def begin(self, stream: ServerStream, metadata: Metadata) -> None:
        """Send the headers of a response."""

    def send(self, stream: ServerStream, message: bytes) -> bool:
        """Send a message; False if it has to wait, until the call is woken."""

    def finish(self, stream: ServerStream, status: Status, metadata: Metadata) -> bool:
        """End a call, after all that still waits of it; False if something does."""

    def cut(self, stream: ServerStream, status: Status) -> None:
        """End a call at once."""

    def expire(self, stream: ServerStream, status: Status) -> None:
        """End a call at once, as its time is up."""

    def read(self, stream: ServerStream, num_bytes: int) -> None:
        """Note that a message of so many bytes was read."""


class StatusCode(Protocol):
    """A `grpc.StatusCode`."""

    @property
    def value(self) -> tuple[int, str]: ...


class Aborted(Exception):
    """The handler has ended its call."""


class Call:
    """A call from its request to its status. Its handler is cancelled when nobody waits for it.

    `call_timeout_s` after it began it ends where it waits for its client: to send the rest of its
    request, or to take what is written.
    """

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
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None
        self._began_at = self._waits_since = self._loop.time()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> "asyncio.Task[None]":
        """Run the handler, for as long as the client wants to wait."""
        if self._request.timeout_s is not None:
            expires_at = self._began_at + self._request.timeout_s
            self._deadline = self._loop.call_at(expires_at, self._expire, _OUT_OF_TIME)
        task = self._task = self._loop.create_task(self._run())
        return task

    # What the handler does.

    async def write(self, message: Any) -> None:
        """Send a message, once the one before it has left: a slow reader slows its handler."""
        if self._is_over:
            raise asyncio.CancelledError
        if not self._stream.has_begun:
            self._line.begin(self._stream, ())
        if not self._line.send(self._stream, self._serialize(message)):
            self._waiter = self._loop.create_future()
            self._watch_reader()
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
        if self._request.timeout_s is None:
            return None
        return max(0.0, self._began_at + self._request.timeout_s - self._loop.time())

    def peer(self) -> str:
        """Return where the call comes from, as gRPC writes addresses."""
        return self._line.peer

    # What the connection does.

    def receive(self, message: bytes) -> None:
        """Take a message of the request."""
        if self._method.takes_stream or not self._inbox.num_put:
            self._inbox.put(message)
        else:
            self.end(_ONE_MESSAGE)

    def half_close(self) -> None:
        """Take the end of the request."""
        self._inbox.close()

    def wake(self) -> None:
        """Let the handler write again; where it has ended, all of its answer has left."""
        if self._is_over:
            self._stop_timers()
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
        self._stop_timers()
        # A cancelled task keeps its frames, and this call in them: not to know it makes no cycle.
        task, self._task = self._task, None
        if task:
            task.cancel()

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
        self._task = None
        if self._is_over:
            return
        self._is_over = True
        if self._line.finish(self._stream, self._status, self._trailing_metadata):
            self._stop_timers()
        else:
            self._waiter = self._loop.create_future()
            self._watch_reader()

    async def _requests(self) -> AsyncIterator[Any]:
        while (message := await self._inbox.next()) is not None:
            yield self._read(message)

    async def _only_request(self) -> Any:
        if not self._inbox.is_closed:
            await self._request_whole()
        message = await self._inbox.next()
        if message is None:
            raise StatusError(_ONE_MESSAGE)
        return self._read(message)

    async def _request_whole(self) -> None:
        expires_at = self._began_at + self._line.limits.body_timeout_s
        timer = self._loop.call_at(expires_at, self._expire, _SLOW_BODY)
        try:
            await self._inbox.closed()
        finally:
            timer.cancel()

    def _watch_reader(self) -> None:
        """See to it that the call does not wait for its client to read for ever."""
        self._waits_since = self._loop.time()
        if self._reading is None and self._line.limits.call_timeout_s < math.inf:
            self._reading = self._loop.call_at(self._reads_until(), self._check_reader)

    def _reads_until(self) -> float:
        """Return until when the client may take its time.

        That is the call's time, or a while if that is over: there are calls without an end.
        """
        timeout_s = self._line.limits.call_timeout_s
        return max(self._began_at + timeout_s, self._waits_since + min(timeout_s, GRACE_S))

    def _check_reader(self) -> None:
        self._reading = None
        if self._waiter is None or self._waiter.done():
            return
        if (reads_until := self._reads_until()) > self._loop.time():
            self._reading = self._loop.call_at(reads_until, self._check_reader)
        else:
            self._line.limits.on_cut_off()
            self._expire(_UNREAD)

    def _expire(self, status: Status) -> None:
        self._line.expire(self._stream, status)
        self.leave()

    def _read(self, message: bytes) -> Any:
        self._line.read(self._stream, len(message))
        try:
            return self._method.parse(message)
        except Exception as error:
            raise StatusError(Status(Code.INTERNAL, "a message that cannot be read")) from error

    def _stop_timers(self) -> None:
        for timer in (self._deadline, self._reading):
            if timer:
                timer.cancel()


_ONE_MESSAGE = Status(Code.UNIMPLEMENTED, "the method takes exactly one message")
_SLOW_BODY = Status(Code.DEADLINE_EXCEEDED, "the request did not come in time")
_UNREAD = Status(Code.DEADLINE_EXCEEDED, "the answer was not read in time")
_OUT_OF_TIME = Status(Code.DEADLINE_EXCEEDED, "the deadline has passed")
