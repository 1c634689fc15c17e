"""Who is served next: places, the queue for them, fairness between keys. Pure, on a given clock.

Between the keys that wait, the one that was served the fewest tokens comes next (the virtual token
counter of Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024, algorithm 2). A key
that comes back after a pause is lifted to those that wait, so that it saved nothing up. What an
answer will take is guessed when it begins, and corrected when it ends.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from gateway.traffic.caller import Priority

RATE_S = 10.0
"""Over which what was served lately is remembered."""
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Weights:
    """What a token costs its key: of a prompt, of an answer, of a prompt that was cached."""

    prompt: float = 1.0
    output: float = 2.0
    cached: float = 0.1

    def cost(self, prompt_tokens: float, output_tokens: float, cached_tokens: float = 0) -> float:
        """Return what so many tokens cost."""
        fresh = (prompt_tokens - cached_tokens) * self.prompt
        return fresh + cached_tokens * self.cached + output_tokens * self.output


@dataclass(frozen=True, slots=True)
class Capacity:
    """What runs at once: so many requests, with so many tokens in KV."""

    requests: float = math.inf
    tokens: float = math.inf


@dataclass(eq=False, slots=True)
class Ticket:
    """A request at the gate. `kv_tokens` is what it may come to hold, `output_tokens` a guess."""

    key: str
    prompt_tokens: int
    kv_tokens: int
    output_tokens: float
    deadline: float = math.inf
    priority: Priority = Priority.INTERACTIVE
    charged: float = 0.0
    is_preempted: bool = False

    @property
    def tokens(self) -> float:
        return self.prompt_tokens + self.output_tokens


class Full(Exception):
    """There is no place for a request, nor one in the queue; come back after so many seconds."""

    def __init__(self, reason: str, retry_after_s: float) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_s = reason, retry_after_s


@dataclass(slots=True)
class _Line:
    """Those of one class that wait, by key, each key's in the order in which they came."""

    queues: dict[str, deque[Ticket]] = field(default_factory=dict)

    def tickets(self) -> list[Ticket]:
        return [ticket for queue in self.queues.values() for ticket in queue]

    def add(self, ticket: Ticket) -> None:
        self.queues.setdefault(ticket.key, deque()).append(ticket)

    def remove(self, ticket: Ticket) -> bool:
        queue = self.queues.get(ticket.key)
        if queue is None or ticket not in queue:
            return False
        queue.remove(ticket)
        if not queue:
            del self.queues[ticket.key]
        return True


class Gate:
    """The places of one model. Its owner runs what `dispatch` returns, until they `leave`."""

    def __init__(
        self, capacity: Capacity, max_waiting: int, weights: Weights | None = None
    ) -> None:
        self.capacity = capacity
        self.num_waiting = 0
        self.num_running = 0
        self.kv_tokens = 0
        self._weights = weights or Weights()
        self._max_waiting = max_waiting
        self._lines = {priority: _Line() for priority in Priority}
        self._counters: dict[str, float] = {}
        self._open: dict[str, int] = {}
        self._early: dict[Ticket, None] = {}
        self._leaving: set[Ticket] = set()
        self._level = 0.0
        self._waiting_tokens = 0.0
        self._running_tokens = 0.0
        self._served, self._served_at = 0.0, 0.0

    def begin(self, ticket: Ticket) -> bool:
        """Dispatch a request at once, if nobody waits and there is a place; tell whether."""
        if not self._may_begin(ticket):
            return False
        key = ticket.key
        self._counters[key] = max(self._counters.get(key, 0.0), self._level)
        self._open[key] = self._open.get(key, 0) + 1
        self._start(ticket)
        return True

    def apply(self, ticket: Ticket, now: float, chance: float = 0.5) -> list[Ticket]:
        """Let a request wait; return those that had to make room for it in the queue.

        Raises Full for one that cannot be served, or not before its deadline. `chance`, from 0 to
        1, keeps those who are refused from coming back all at once.
        """
        if ticket.kv_tokens > self.capacity.tokens:
            raise Full("it alone needs more of the KV cache than there is", math.inf)
        ahead_s = self._ahead_s(ticket, now)
        if now + ahead_s > ticket.deadline:
            raise Full("it would have to wait beyond its deadline", self._retry_s(ahead_s, chance))
        pushed = self._make_room(ticket, ahead_s, chance)
        self._lift(ticket.key)
        self._lines[ticket.priority].add(ticket)
        self._open[ticket.key] = self._open.get(ticket.key, 0) + 1
        self.num_waiting += 1
        self._waiting_tokens += ticket.tokens
        return pushed

    def dispatch(self) -> list[Ticket]:
        """Return those whose turn it is, as many as there are places for."""
        begun = []
        while (ticket := self._next()) and self._fits(ticket):
            self._unwait(ticket)
            self._start(ticket)
            begun.append(ticket)
        return begun

    def preempt(self, ticket: Ticket) -> list[Ticket]:
        """Return those of class batch that are to leave for an interactive request that waits.

        They are the youngest of which nothing has come, as few as give all places that wait so;
        none where that is not enough for one.
        """
        if ticket.priority is Priority.BATCH or not self._early:
            return []
        waiting = self._lines[Priority.INTERACTIVE].tickets()
        lack = self.num_running - len(self._leaving) - self.capacity.requests
        kv_leaving = sum(one.kv_tokens for one in self._leaving)
        kv_lack = self.kv_tokens - kv_leaving - self.capacity.tokens
        wanted, kv_wanted = len(waiting), sum(one.kv_tokens for one in waiting)
        chosen: list[Ticket] = []
        for one in reversed(self._early):
            if lack + wanted <= 0 and kv_lack + kv_wanted <= 0:
                break
            chosen.append(one)
            lack, kv_lack = lack - 1, kv_lack - one.kv_tokens
        if kv_lack + ticket.kv_tokens > 0:
            return []
        for one in chosen:
            self.note_begun(one)
            one.is_preempted = True
            self._leaving.add(one)
        return chosen

    def note_begun(self, ticket: Ticket) -> None:
        """Note that something has come of a request: it stays until it ends."""
        self._early.pop(ticket, None)

    def withdraw(self, ticket: Ticket) -> None:
        """Let one go that waits no longer."""
        if self._unwait(ticket):
            self._forget(ticket.key)

    def leave(self, ticket: Ticket, now: float, output_tokens: int, cached_tokens: int = 0) -> None:
        """Free the place of one that was dispatched; charge its key what it came to."""
        self.note_begun(ticket)
        self._leaving.discard(ticket)
        self.num_running -= 1
        self.kv_tokens -= ticket.kv_tokens
        self._running_tokens -= ticket.tokens
        cost = self._weights.cost(ticket.prompt_tokens, output_tokens, cached_tokens)
        self._counters[ticket.key] += cost - ticket.charged
        self._served = self._served_lately(now) + ticket.prompt_tokens + output_tokens
        self._served_at = now
        self._forget(ticket.key)

    def retry_after_s(self, now: float, chance: float = 0.5) -> float:
        """Return when to come back, going by the work ahead and what is served in a second."""
        rate = self._rate(now)
        ahead_s = (self._waiting_tokens + self._running_tokens / 2) / rate if rate else 0.0
        return self._retry_s(ahead_s, chance)

    def _next(self) -> Ticket | None:
        for priority in Priority:  # batch gets what interactive leaves
            queues = self._lines[priority].queues
            if queues:
                return queues[min(queues, key=self._counters.__getitem__)][0]
        return None

    def _fits(self, ticket: Ticket) -> bool:
        has_place = self.num_running < self.capacity.requests
        return has_place and self.kv_tokens + ticket.kv_tokens <= self.capacity.tokens

    def _start(self, ticket: Ticket) -> None:
        ticket.charged = self._weights.cost(ticket.prompt_tokens, ticket.output_tokens)
        self._level = self._counters[ticket.key] = self._counters[ticket.key] + ticket.charged
        if ticket.priority is Priority.BATCH:
            self._early[ticket] = None
        self.num_running += 1
        self.kv_tokens += ticket.kv_tokens
        self._running_tokens += ticket.tokens

    def _may_begin(self, ticket: Ticket) -> bool:
        return not self.num_waiting and self._fits(ticket)

    def _unwait(self, ticket: Ticket) -> bool:
        if not self._lines[ticket.priority].remove(ticket):
            return False
        self.num_waiting -= 1
        self._waiting_tokens -= ticket.tokens
        return True

    def _lift(self, key: str) -> None:
        """Take from a key that did not wait what it could have saved up meanwhile."""
        waiting = {one for line in self._lines.values() for one in line.queues}
        counter = self._counters.get(key, 0.0)
        if key not in waiting:
            level = min((self._counters[one] for one in waiting), default=self._level)
            counter = max(counter, level)
        self._counters[key] = counter

    def _forget(self, key: str) -> None:
        """Keep no counter of a key of which nothing is here, where it would be lifted anyway."""
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]
            if self._counters[key] <= self._level:
                del self._counters[key]
        if len(self._counters) > 2 * len(self._open) + 1024:
            floor = sorted(self._counters.values())[len(self._counters) // 2]
            self._counters = {
                one: value
                for one, value in self._counters.items()
                if one in self._open or value > floor
            }

    def _make_room(self, ticket: Ticket, ahead_s: float, chance: float) -> list[Ticket]:
        """Where the queue is full, send away the last of the key that has most in it."""
        if self.num_waiting < self._max_waiting or self._may_begin(ticket):
            return []
        line = self._lines[Priority.BATCH]
        if ticket.priority is Priority.BATCH or not line.queues:
            line = self._lines[ticket.priority]
        longest = max(line.queues, key=lambda key: len(line.queues[key]), default=None)
        own = len(line.queues.get(ticket.key, ()))
        is_other_line = line is not self._lines[ticket.priority]
        if longest is None or not (is_other_line or len(line.queues[longest]) > own + 1):
            raise Full("as many wait already as may", self._retry_s(ahead_s, chance))
        last = line.queues[longest][-1]
        self.withdraw(last)
        return [last]

    def _ahead_s(self, ticket: Ticket, now: float) -> float:
        """Return how long a request is likely to wait: keys take turns, each with its own."""
        if self._may_begin(ticket):
            return 0.0
        rate = self._rate(now)
        if not rate:
            return 0.0
        queues = self._lines[ticket.priority].queues
        own = sum(one.tokens for one in queues.get(ticket.key, ())) + ticket.tokens
        turns = len(queues.keys() | {ticket.key})
        before = min(self._waiting_tokens, own * turns)
        return (before + self._running_tokens / max(2, 2 * self.num_running)) / rate

    def _rate(self, now: float) -> float:
        return self._served_lately(now) / RATE_S

    def _served_lately(self, now: float) -> float:
        return self._served * math.exp((self._served_at - now) / RATE_S)

    def _retry_s(self, ahead_s: float, chance: float) -> float:
        seconds = min(max(ahead_s, FIRST_RETRY_S), LONGEST_RETRY_S)
        return seconds * (1 + JITTER * chance)
