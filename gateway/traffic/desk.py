"""What limits make of a request: what it demands, what it is told, what it puts back."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from gateway.errors import GatewayError, LimitsUnavailable, RateLimited, RequestOverLimit
from gateway.traffic.caller import NO_LIMITS, Caller, Limits
from gateway.traffic.counts import Counts, StoreDown
from gateway.traffic.ledger import Demand, Kind, Refund, State, Verdict

UNITS = {
    Kind.REQUESTS: "requests per min (RPM)",
    Kind.TOKENS: "tokens per min (TPM)",
    Kind.CONCURRENT: "requests at once",
}
HEADERS = {
    kind: tuple(f"x-ratelimit-{what}-{name}" for what in ("limit", "remaining", "reset"))
    for kind, name in ((Kind.REQUESTS, "requests"), (Kind.TOKENS, "tokens"))
}
Headers = tuple[tuple[str, str], ...]


class Taken(msgspec.Struct, frozen=True):
    """What a request holds of its limits, and what its caller is told of them."""

    demands: Sequence[Demand] = ()
    slot: int = 0
    headers: Headers = ()


class LimitReached(Exception):
    """A limit lets the request not pass now; `headers` tell how things stand."""

    def __init__(self, error: GatewayError, headers: Headers) -> None:
        super().__init__(error.message)
        self.error, self.headers = error, headers


@dataclass(frozen=True, slots=True)
class Desk:
    """Holds requests against the limits of their key and of their model.

    Where several processes count each for itself, `num_processes` share every limit.
    """

    counts: Counts
    num_processes: int = 1

    async def take(self, who: Caller, model: str, limits: Limits, num_tokens: int) -> Taken:
        """Take what a request of so many tokens, its answer included, needs of its limits.

        Raises LimitReached.
        """
        demands = self._demands(f"key:{who.key}", who.limits, num_tokens)
        demands += self._demands(f"model:{model}", limits, num_tokens)
        if not demands:
            return _FREE
        try:
            verdict = await self.counts.take(demands)
        except StoreDown:
            error = LimitsUnavailable("Limits cannot be looked at now.", retry_after_s=1)
            raise LimitReached(error, ()) from None
        headers = _headers(demands, verdict)
        if verdict.broken >= 0:
            raise LimitReached(_refusal(demands[verdict.broken], verdict), headers)
        return Taken(demands, verdict.slot, headers)

    def settle(self, taken: Taken, num_tokens: int) -> None:
        """Put back what a request did not use: it came to so many tokens."""
        if refunds := _refunds(taken, num_tokens):
            self.counts.give(refunds)

    def _demands(self, owner: str, limits: Limits, num_tokens: int) -> list[Demand]:
        demands: list[Demand] = []
        if limits is NO_LIMITS:
            return demands
        if (most := self._share(limits.requests_per_minute)) is not None:
            demands.append(Demand(f"requests:{owner}", Kind.REQUESTS, most, 1))
        if (most := self._share(limits.tokens_per_minute)) is not None:
            # One that could alone exceed the limit waits for all of it; what is more, is owed.
            need = min(num_tokens, max(1, most))
            demands.append(Demand(f"tokens:{owner}", Kind.TOKENS, most, need))
        if (most := self._share(limits.concurrent_requests)) is not None:
            demands.append(Demand(f"concurrent:{owner}", Kind.CONCURRENT, most, 1))
        return demands

    def _share(self, most: int | None) -> int | None:
        return most and max(1, most // self.num_processes)


_FREE = Taken()


def _refunds(taken: Taken, num_tokens: int) -> list[Refund]:
    refunds = []
    for demand in taken.demands:
        if demand.kind is Kind.CONCURRENT:
            refunds.append(Refund(demand.name, demand.kind, taken.slot, -1))
        elif demand.kind is Kind.TOKENS and num_tokens != demand.need:
            extra = num_tokens - demand.need
            refunds.append(Refund(demand.name, demand.kind, taken.slot, extra))
    return refunds


def _refusal(demand: Demand, verdict: Verdict) -> GatewayError:
    owner = "key" if ":key:" in demand.name else "model"
    what = f"The {owner}'s limit of {demand.amount} {UNITS[demand.kind]}"
    if verdict.retry_ms < 0:
        return RequestOverLimit(f"{what} leaves no room for this request at any time.")
    seconds = verdict.retry_ms / 1000
    used = demand.amount - verdict.states[verdict.broken].remaining
    return RateLimited(
        f"{what} is reached: used {used}, requested {demand.need}. Try again in {seconds:.3g}s.",
        retry_after_s=seconds,
    )


def _headers(demands: Sequence[Demand], verdict: Verdict) -> Headers:
    """Return `x-ratelimit-*` as OpenAI sends them, of the tightest limit of a kind."""
    tightest: dict[Kind, tuple[Demand, State]] = {}
    for demand, state in zip(demands, verdict.states, strict=True):
        held = tightest.get(demand.kind)
        if held is None or state.remaining < held[1].remaining:
            tightest[demand.kind] = demand, state
    headers: list[tuple[str, str]] = []
    for kind, (limit, remaining, reset) in HEADERS.items():
        if kind in tightest:
            demand, state = tightest[kind]
            headers.append((limit, str(demand.amount)))
            headers.append((remaining, str(state.remaining)))
            headers.append((reset, duration(state.reset_ms)))
    return tuple(headers)


def duration(ms: int) -> str:
    """Return milliseconds as Go writes durations: 12ms, 1.5s, 1m0s."""
    if ms < 1000:
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds
