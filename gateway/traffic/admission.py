"""The gate of a model, awaited: a request goes on when it has a place, or is told to come back."""

import asyncio
import math
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from gateway.errors import NoCapacity
from gateway.traffic.caller import Caller, Priority
from gateway.traffic.gate import FIRST_RETRY_S, Capacity, Full, Gate, Ticket, Weights

REMEMBERED = 256
"""Answers by whose lengths the next ones' are guessed,"""
ENOUGH = 32
"""and so many before they are."""
FIRST_GUESS = 128.0
LOOK_EVERY_S = 0.5
"""How often the capacity is asked for anew."""


class Lengths:
    """How long answers were lately, in tokens."""

    def __init__(self) -> None:
        self._num_seen = 0
        self._peaks: deque[tuple[int, int]] = deque()
        """Of the answers remembered, by number, those that no later one is as long as."""
        self._mean = FIRST_GUESS

    def note(self, num_tokens: int) -> None:
        """Note an answer that came to its end."""
        peaks = self._peaks
        while peaks and peaks[-1][1] <= num_tokens:
            peaks.pop()
        peaks.append((self._num_seen, num_tokens))
        self._num_seen += 1
        if peaks[0][0] < self._num_seen - REMEMBERED:
            peaks.popleft()
        self._mean += (num_tokens - self._mean) / ENOUGH

    def guess(self, most: int) -> float:
        """Return how many tokens to expect where there may be so many."""
        return min(float(most), self._mean)

    def bound(self, most: int) -> int:
        """Return how many to keep room for: hardly an answer is longer than all lately."""
        return min(most, self._peaks[0][1]) if self._num_seen >= ENOUGH else most


class Admission:
    """Lets requests to one model pass, as many as it can serve at once: `capacity` tells."""

    def __init__(
        self,
        max_waiting: int,
        timeout_s: float,
        weights: Weights | None = None,
        on_refusal: Callable[[], None] = lambda: None,
    ) -> None:
        self.gate = Gate(Capacity(), max_waiting, weights)
        self.capacity: Callable[[], Capacity] = Capacity
        self._looked_at = -LOOK_EVERY_S
        self._timeout_s = timeout_s
        self._on_refusal = on_refusal
        self._lengths = Lengths()
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}
        self._early: dict[Ticket, asyncio.Task[Any] | None] = {}

    async def enter(
        self, who: Caller, prompt_tokens: int, most_output: int, time_left_s: float | None
    ) -> Ticket:
        """Return the ticket of a request that may begin. Raises NoCapacity.

        One of class batch may be preempted until it has `begun`: the task that entered is
        cancelled then, and is to raise what `preempted` returns.
        """
        now = time.monotonic()
        wait_s = min(self._timeout_s, math.inf if time_left_s is None else time_left_s)
        ticket = Ticket(
            key=who.key,
            prompt_tokens=prompt_tokens,
            kv_tokens=prompt_tokens + self._lengths.bound(most_output),
            output_tokens=self._lengths.guess(most_output),
            deadline=now + wait_s,
            priority=who.priority,
        )
        self._look(now)
        if self.gate.begin(ticket):
            return self._entered(ticket)
        try:
            pushed = self.gate.apply(ticket, now, random.random())
        except Full as full:
            raise self._refusal(full.reason, full.retry_after_s) from None
        for one in pushed:
            self._refuse(one, "others, who had fewer, came to wait")
        await self._turn(ticket, wait_s)
        return self._entered(ticket)

    def begun(self, ticket: Ticket) -> None:
        """Note that something has come of a request: now it stays."""
        self._early.pop(ticket, None)
        self.gate.note_begun(ticket)

    def preempted(self, ticket: Ticket) -> NoCapacity | None:
        """Return why a request was cancelled, if it was from here; its task goes on."""
        if not ticket.is_preempted:
            return None
        if (task := asyncio.current_task()) and sys.version_info >= (3, 11):
            task.uncancel()
        retry_s = self.gate.retry_after_s(time.monotonic(), random.random())
        return self._refusal("it is of class batch, and others came", retry_s)

    def leave(self, ticket: Ticket, output_tokens: int, cached_tokens: int, *, ended: bool) -> None:
        """Free a place; `ended` tells whether the answer came to its own end."""
        if ended:
            self._lengths.note(output_tokens)
        self._early.pop(ticket, None)
        self.gate.leave(ticket, time.monotonic(), output_tokens, cached_tokens)
        self._dispatch()

    def _look(self, now: float) -> None:
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self.gate.capacity = self.capacity()

    async def _turn(self, ticket: Ticket, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting[ticket] = turn
        self._dispatch()
        if turn.done():
            return turn.result()
        for one in self.gate.preempt(ticket):
            if task := self._early.pop(one, None):
                task.cancel()
        timer = loop.call_later(min(wait_s, 86_400), self._expire, ticket)
        try:
            await turn
        except asyncio.CancelledError:
            self._give_up(ticket, turn)
            raise
        finally:
            timer.cancel()

    def _entered(self, ticket: Ticket) -> Ticket:
        if ticket.is_preempted:  # between its turn and now
            self.leave(ticket, 0, 0, ended=False)
            raise self._refusal("it is of class batch, and others came", FIRST_RETRY_S)
        if ticket.priority is Priority.BATCH:
            self._early[ticket] = asyncio.current_task()
        return ticket

    def _give_up(self, ticket: Ticket, turn: "asyncio.Future[None]") -> None:
        if self._waiting.pop(ticket, None):
            self.gate.withdraw(ticket)
            self._dispatch()
        elif turn.done() and not turn.cancelled() and not turn.exception():
            self.gate.leave(ticket, time.monotonic(), 0)
            self._dispatch()

    def _dispatch(self) -> None:
        for ticket in self.gate.dispatch():
            turn = self._waiting.pop(ticket)
            if turn.done():  # its request was cancelled this very moment
                self.gate.leave(ticket, time.monotonic(), 0)
            else:
                turn.set_result(None)

    def _expire(self, ticket: Ticket) -> None:
        if ticket in self._waiting:
            self.gate.withdraw(ticket)
            self._refuse(ticket, "its turn did not come in time")
            self._dispatch()

    def _refuse(self, ticket: Ticket, reason: str) -> None:
        turn = self._waiting.pop(ticket)
        if not turn.done():
            retry_s = self.gate.retry_after_s(time.monotonic(), random.random())
            turn.set_exception(self._refusal(reason, retry_s))

    def _refusal(self, reason: str, retry_after_s: float) -> NoCapacity:
        self._on_refusal()
        told = f"The model has no room for this request now: {reason}."
        return NoCapacity(told, retry_after_s=None if retry_after_s == math.inf else retry_after_s)
