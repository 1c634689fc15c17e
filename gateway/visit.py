"""One request's way through: what it may use, what it has used, how it ended. Ambient.

Twice a request something is done here, and never for a token.
"""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from gateway.errors import NoCapacity
from gateway.generation import Usage
from gateway.origin import origin
from gateway.traffic.admission import Admission
from gateway.traffic.caller import ANYONE, Caller, Limits
from gateway.traffic.desk import Desk, Headers, LimitReached, Taken
from gateway.traffic.gate import Ticket
from gateway.traffic.usage import Row, UsageLog

CANCELLED = "cancelled"
ENDINGS = frozenset(("stop", "length", "tool_calls"))
"""Why answers end that came to their end."""


class Planned(Protocol):
    """An answer that is yet to come."""

    most_tokens: int


class Visit:
    """A request between its admission and its end. `headers` are what its caller is told."""

    __slots__ = (
        "_arrived",
        "_cached",
        "_completion",
        "_desk",
        "_early",
        "_ending",
        "_log",
        "_model",
        "_num_open",
        "_prompt",
        "_taken",
        "admission",
        "headers",
        "request_id",
        "who",
    )

    def __init__(self, desk: Desk, log: UsageLog | None, request_id: str) -> None:
        self.who: Caller = ANYONE
        self.request_id = request_id
        self.headers: Headers = ()
        self.admission: Admission | None = None
        self._desk, self._log = desk, log
        self._arrived = time.time()
        self._model = ""
        self._taken: Taken | None = None
        self._num_open = 0
        self._early: list[Ticket] | None = []
        self._prompt = self._completion = self._cached = 0
        self._ending = CANCELLED

    async def admit(
        self, model: str, owner: str, limits: Limits, answers: Sequence[Planned]
    ) -> None:
        """Take what the answers of this request may need. Raises what refuses it.

        `owner` is the model whose limits they are: an adapter shares those of its base.
        """
        num_tokens = sum(answer.most_tokens for answer in answers)
        try:
            taken = await self._desk.take(self.who, owner, limits, num_tokens)
        except LimitReached as reached:
            self.headers = reached.headers
            raise reached.error from None
        self.headers = taken.headers
        self._model, self._taken, self._num_open = model, taken, len(answers)

    async def enter(self, prompt_tokens: int, most_output: int) -> Ticket | None:
        """Return the place that an answer has, once it may begin. Raises NoCapacity."""
        if self.admission is None:
            return None
        came = origin.get()
        time_left_s = came.timeout_s(max(0.0, came.first_token_by - time.monotonic()))
        place = await self.admission.enter(self.who, prompt_tokens, most_output, time_left_s)
        if self._early is None:
            self.admission.begun(place)
        else:
            self._early.append(place)
        return place

    def begin(self) -> None:
        """Note that something has come of an answer: from now on none of them is preempted."""
        early, self._early = self._early, None
        if self.admission:
            for place in early or ():
                self.admission.begun(place)

    def preempted(self, place: Ticket | None) -> NoCapacity | None:
        """Return why an answer was cancelled, if others took its place."""
        return self.admission.preempted(place) if place and self.admission else None

    def leave(self, place: Ticket | None, usage: Usage, ending: str) -> None:
        """Note what an answer came to, and why it ended; with the last one, all is settled."""
        if place and self.admission:
            ended = ending in ENDINGS
            self.admission.leave(place, usage.completion_tokens, usage.cached_tokens, ended=ended)
        self._prompt += usage.prompt_tokens
        self._completion += usage.completion_tokens
        self._cached += usage.cached_tokens
        self._ending = ending
        self._num_open -= 1
        if self._num_open == 0:
            self.close()

    def close(self) -> None:
        """Settle, unless that is done; answers that have not ended never will."""
        taken, self._taken = self._taken, None
        if taken is None:
            return
        num_tokens = self._prompt + self._completion
        self._desk.settle(taken, num_tokens)
        if self._log and num_tokens:
            self._log.write(self._row())

    def _row(self) -> Row:
        return Row(
            request_id=self.request_id,
            at=self._arrived,
            key=self.who.key,
            tenant=self.who.tenant,
            model=self._model,
            prompt_tokens=self._prompt,
            cached_tokens=self._cached,
            completion_tokens=self._completion,
            seconds=round(time.time() - self._arrived, 3),
            finish_reason=self._ending,
        )


visit: ContextVar[Visit | None] = ContextVar("visit", default=None)
"""The request that the current task works for; None where nobody counts."""
