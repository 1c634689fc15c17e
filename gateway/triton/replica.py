"""One Triton as a model is served from it: the calls it has open, and whether it may have more."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

import grpc

from gateway.errors import EngineFailure, EngineUnavailable
from gateway.http2.status import Code, Status
from gateway.origin import origin
from gateway.triton.channel import Channel, StreamCall
from gateway.triton.contract import AnyContract
from gateway.triton.standing import Standing
from gateway.triton.work import NO_WORK, Load, Pace, Work

RETRY_AFTER_S = 5.0


class Readiness(Enum):
    """What asking Triton whether a model is ready came to. SILENT is no answer within the time."""

    READY = "ready"
    NOT_READY = "Triton says that its model is not ready."
    UNREACHABLE = "Triton cannot be reached."
    SILENT = "Triton does not answer."


class Progress(NamedTuple):
    """What has come of the open calls since the last look.

    `is_decoding` tells that one of them streams and has had its first token, `token_s` how long
    such streams wait for a token, of late, and `prefill_s` how long the prompts of those that had
    none should take to read. `are_streams` tells that there are such, and that all stream: an
    engine that works on them cannot be silent for long.
    """

    num_open: int
    has_come: bool
    is_decoding: bool
    token_s: float = 0.0
    prefill_s: float = 0.0
    are_streams: bool = False


class Counted(Protocol):
    """Something that knows how many tokens have come."""

    @property
    def num_tokens(self) -> int: ...


class _Nothing:
    num_tokens = 0


NOTHING_COUNTED: Counted = _Nothing()
"""Of which no tokens are known."""


@dataclass(slots=True)
class _Open:
    """What is known of an open call beside what it knows itself."""

    opened_at: float
    is_streamed: bool
    work: Work
    counted: Counted
    expected_tokens: float = 0.0
    prompt_tokens_ahead: int = 0
    num_tokens: int = 0
    has_begun: bool = False
    loss: str = ""
    first_token_by: float = math.inf
    token_timeout_s: float = math.inf
    heard_at: float = 0.0


class Replica:
    """The way to one model on one Triton.

    Calls may be opened until it is retired, and again once it is restored. What happens to them
    costs a token nothing: whoever looks after the replica looks at the open calls now and then.
    `trouble` is set by calls that end badly.

    `contract` is what its model was last seen to take and give, `version` what serves it and how
    that was built; `adapters_held` are the LoRA adapters that were sent to it, by number.
    """

    def __init__(
        self,
        channel: Channel,
        model: str,
        first_token_timeout_s: float = 0,
        token_timeout_s: float = 0,
    ) -> None:
        self.channel = channel
        self.model = model
        self.trouble = asyncio.Event()
        self.contract: AnyContract | None = None
        self.version = ""
        self.adapters_held: set[int] = set()
        self.load = Load()
        self.standing = Standing()
        self.is_drained = self.is_suspect = False
        self.is_chosen = True
        self.on_settle: Callable[[], None] = lambda: None
        self.reason = ""
        self.detail = ""
        self._first_token_timeout_s = first_token_timeout_s
        self._token_timeout_s = token_timeout_s or math.inf
        self._open: dict[StreamCall, _Open] = {}
        self._pace = Pace()
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def num_open(self) -> int:
        return len(self._open)

    async def idle(self) -> None:
        """Return once no call is open."""
        await self._is_idle.wait()

    def stream(
        self,
        is_streamed: bool,
        deadline: float,
        work: Work = NO_WORK,
        expected_tokens: float = 0.0,
        counted: Counted = NOTHING_COUNTED,
    ) -> StreamCall:
        """Start a call, to be given back by `leave`. Raises EngineUnavailable while retired."""
        self.check()
        call = self.channel.stream(deadline)
        self.load.add(work.prompt_tokens, expected_tokens, calls=1)
        self._is_idle.clear()
        came, now = origin.get(), asyncio.get_running_loop().time()
        self._open[call] = _Open(
            opened_at=now,
            is_streamed=is_streamed,
            work=work,
            counted=counted,
            expected_tokens=expected_tokens,
            prompt_tokens_ahead=self.load.waiting_prompt_tokens,
            num_tokens=counted.num_tokens,
            first_token_by=now + came.first_token_by - time.monotonic(),
            token_timeout_s=min(self._token_timeout_s, came.token_timeout_s),
            heard_at=now,
        )
        return call

    def begin(self, call: StreamCall) -> None:
        """Note that the first of a call has come: its prompt has been read."""
        known = self._open[call]
        if known.is_streamed:
            elapsed_s = asyncio.get_running_loop().time() - known.opened_at
            self.load.note_first_token(known.prompt_tokens_ahead, elapsed_s)
        self.load.add(-known.work.prompt_tokens, 0)
        known.work = NO_WORK
        known.has_begun = True
        self.standing.note_success()

    def leave(self, call: StreamCall, error: BaseException | None) -> EngineUnavailable | None:
        """Cancel a call if it has not ended; `error` is what it ended by.

        Returns what its caller is to be told instead, where the call was ended from here.
        """
        call.cancel()
        known = self._open.pop(call)
        if not self._open:
            self._is_idle.set()
        self._count(known)
        self.load.add(-known.work.prompt_tokens, -known.expected_tokens, calls=-1)
        if isinstance(error, (EngineFailure, EngineUnavailable)):
            self.trouble.set()
        is_lost = known.loss and isinstance(error, EngineUnavailable)
        return unavailable(known.loss) if is_lost else None

    def check(self) -> None:
        """Raise EngineUnavailable with the reason while retired."""
        if self.reason:
            raise unavailable(self.reason)

    def retire(self, reason: str) -> None:
        """Open no more calls; those that are open go on."""
        self.reason = reason
        self.settle()

    def restore(self) -> None:
        """Open calls again, and connect for the next one without delay."""
        self.reason = ""
        self.is_suspect = False
        self.channel.retry_now()
        self.settle()

    def doubt(self, is_suspect: bool) -> None:
        """Send no calls there while others can take them: it was lost, until it is looked at."""
        self.is_suspect = is_suspect
        self.settle()

    def drain(self, is_drained: bool) -> None:
        """Send no calls there, whatever becomes of others, or send some again."""
        self.is_drained = is_drained
        self.settle()

    def settle(self) -> None:
        """Work out anew whether calls are sent there before all else: `is_chosen`."""
        is_out = self.is_drained or self.is_suspect or bool(self.standing.ejected_until)
        self.is_chosen = not (self.reason or is_out)
        self.on_settle()

    def fail_open(self, reason: str, *, only_waiting: bool = False) -> int:
        """End every open call, or those of which nothing came, by EngineUnavailable; count them."""
        lost = [one for one in self._open.items() if not (only_waiting and one[1].has_begun)]
        for call, known in lost:
            _end(call, known, reason)
        return len(lost)

    def look(self) -> Progress:
        """Tell what has come since the last look; end calls that are out of time for a token."""
        has_come = is_decoding = False
        now = asyncio.get_running_loop().time()
        for call, known in tuple(self._open.items()):
            if call.is_fresh:
                call.is_fresh = False
                has_come = known.has_begun = True
                known.heard_at = now
            elif not call.is_awaited:  # what has come waits for its reader
                known.heard_at = now
            self._count(known)
            is_decoding |= known.has_begun and known.is_streamed
            if self._is_late(known, now):
                _end(call, known, "The engine gave no first token in time.")
            elif _is_overdue(known, now):
                call.fail(Status(Code.DEADLINE_EXCEEDED, "no token in time"))
        streams = [one for one in self._open.values() if one.is_streamed]
        self._pace.note(now, sum(one.has_begun for one in streams), self.load)
        return Progress(
            num_open=len(self._open),
            has_come=has_come,
            is_decoding=is_decoding,
            token_s=self._pace.token_s,
            prefill_s=self.load.seconds(self.load.waiting_prompt_tokens, 0),
            are_streams=0 < len(streams) == len(self._open),
        )

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

    def _count(self, known: _Open) -> None:
        """Count what a call generated since it was last looked at."""
        gained = known.counted.num_tokens - known.num_tokens
        if gained:
            known.num_tokens += gained
            self._pace.num_tokens += gained
            done = min(float(gained), known.expected_tokens)
            known.expected_tokens -= done
            self.load.add(0, -done)

    def _is_late(self, known: _Open, now: float) -> bool:
        if not self._first_token_timeout_s or known.has_begun or not known.is_streamed:
            return False
        return now - known.opened_at > self._first_token_timeout_s


def _is_overdue(known: _Open, now: float) -> bool:
    """Tell whether a stream's first token, or its next, did not come by its caller's deadline.

    The first token of what is resumed is not the first of the answer.
    """
    if not known.is_streamed:
        return False
    if known.has_begun or known.num_tokens:
        return now - known.heard_at > known.token_timeout_s
    return now > known.first_token_by


def _end(call: StreamCall, known: _Open, reason: str) -> None:
    known.loss = reason
    call.fail(Status(Code.UNAVAILABLE, reason))


def unavailable(reason: str, detail: str = "") -> EngineUnavailable:
    """Return what a caller is told where a replica cannot serve."""
    return EngineUnavailable(reason, retry_after_s=RETRY_AFTER_S, detail=detail)
