"""One Triton as a model is served from it: the calls it has open, and whether it may have more."""

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import grpc

from gateway.errors import EngineFailure, EngineUnavailable
from gateway.http2.status import Code, Status
from gateway.triton.channel import Channel, StreamCall

RETRY_AFTER_S = 5.0


class Readiness(Enum):
    """What asking Triton whether a model is ready came to. SILENT is no answer within the time."""

    READY = "ready"
    NOT_READY = "Triton says that its model is not ready."
    UNREACHABLE = "Triton cannot be reached."
    SILENT = "Triton does not answer."


class Progress(NamedTuple):
    """What has come of the open calls since the last look.

    `is_decoding` tells that one of them streams and has had its first token.
    """

    num_open: int
    has_come: bool
    is_decoding: bool


@dataclass(slots=True)
class _Open:
    """What is known of an open call beside what it knows itself."""

    opened_at: float
    is_streamed: bool
    has_begun: bool = False
    loss: str = ""


class Replica:
    """The way to one model on one Triton.

    Calls may be opened until it is retired, and again once it is restored. What happens to them
    costs a token nothing: whoever looks after the replica looks at the open calls now and then.
    `trouble` is set by calls that end badly.
    """

    def __init__(self, channel: Channel, model: str, first_token_timeout_s: float = 0) -> None:
        self.channel = channel
        self.model = model
        self.trouble = asyncio.Event()
        self._first_token_timeout_s = first_token_timeout_s
        self._open: dict[StreamCall, _Open] = {}
        self._retired = ""
        self.detail = ""

    @property
    def reason(self) -> str:
        """Why no calls may be opened; empty while they may."""
        return self._retired

    def stream(self, is_streamed: bool) -> StreamCall:
        """Start a call, to be given back by `leave`. Raises EngineUnavailable while retired."""
        self.check()
        call = self.channel.stream()
        self._open[call] = _Open(asyncio.get_running_loop().time(), is_streamed)
        return call

    def leave(self, call: StreamCall, error: BaseException | None) -> EngineUnavailable | None:
        """Cancel a call if it has not ended; `error` is what it ended by.

        Returns what its caller is to be told instead, where the call was ended from here.
        """
        call.cancel()
        known = self._open.pop(call)
        if isinstance(error, (EngineFailure, EngineUnavailable)):
            self.trouble.set()
        is_lost = known.loss and isinstance(error, EngineUnavailable)
        return _unavailable(known.loss) if is_lost else None

    def check(self) -> None:
        """Raise EngineUnavailable with the reason while retired."""
        if self._retired:
            raise _unavailable(self._retired)

    def retire(self, reason: str) -> None:
        """Open no more calls; those that are open go on."""
        self._retired = reason

    def restore(self) -> None:
        """Open calls again, and connect for the next one without delay."""
        self._retired = ""
        self.channel.retry_now()

    def fail_open(self, reason: str) -> None:
        """End every open call by EngineUnavailable with the reason."""
        for call, known in tuple(self._open.items()):
            _end(call, known, reason)

    def look(self) -> Progress:
        """Tell what has come since the last look; end calls that are out of time for a token."""
        has_come = is_decoding = False
        for call, known in tuple(self._open.items()):
            if call.is_fresh:
                call.is_fresh = False
                has_come = known.has_begun = True
            is_decoding |= known.has_begun and known.is_streamed
            if self._is_late(known):
                _end(call, known, "The engine gave no first token in time.")
        return Progress(len(self._open), has_come, is_decoding)

    async def readiness(self) -> Readiness:
        """Ask Triton whether the model takes requests; `detail` is what gRPC says if not."""
        self.detail = ""
        try:
            is_ready = await self.channel.is_model_ready(self.model)
        except grpc.RpcError as error:
            self.detail = f"{self.channel.address}: {error.details()}"
            is_silent = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            return Readiness.SILENT if is_silent else Readiness.UNREACHABLE
        return Readiness.READY if is_ready else Readiness.NOT_READY

    def _is_late(self, known: _Open) -> bool:
        if not self._first_token_timeout_s or known.has_begun or not known.is_streamed:
            return False
        now = asyncio.get_running_loop().time()
        return now - known.opened_at > self._first_token_timeout_s


def _end(call: StreamCall, known: _Open, reason: str) -> None:
    known.loss = reason
    call.fail(Status(Code.UNAVAILABLE, reason))


def _unavailable(reason: str) -> EngineUnavailable:
    return EngineUnavailable(reason, retry_after_s=RETRY_AFTER_S)
