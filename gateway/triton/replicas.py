"""The replicas that serve one model: who takes a call, who takes it next, who is left alone.

Which replica takes a call is decided when it is opened, and until its first message has come; a
token that follows meets nothing of this. What is known of the work ahead of each is told by
`views`: admission, which has to know it before a request is accepted, reads it there, twice a
request at most, where a `Reply` is made and where it ends.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence

import structlog

from gateway.engine import Feature
from gateway.errors import EngineFailure, EngineUnavailable, GatewayError
from gateway.generation import Lora
from gateway.telemetry.metrics import REPLICA_EVENTS
from gateway.triton.channel import StreamCall
from gateway.triton.contract import AnyContract, ContractMismatch, tells_other_tokenizer
from gateway.triton.errors import ADAPTER_NOT_HELD
from gateway.triton.policies import POLICIES, PolicyName, round_robin
from gateway.triton.prefixes import NOTHING_KNOWN, SLACK_TOKENS, Known, Prefixes
from gateway.triton.replica import Counted, Replica, unavailable
from gateway.triton.retries import Again, RetryBudget, verdict
from gateway.triton.route import Route
from gateway.triton.standing import may_eject
from gateway.triton.view import ReplicaView, view_of
from gateway.triton.work import NO_WORK, Lengths, Load, Work

log = structlog.get_logger(__name__)


class Replicas:
    """The replicas of one model, in the order in which they are named.

    `on_change` is called when what all have in common may have changed; `starts_slowly` tells that
    requests come already, so that a replica that joins is to get its share by and by.
    """

    def __init__(
        self,
        policy: PolicyName = "least_work",
        members: Sequence[Replica] = (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.starts_slowly = False
        self._policy = POLICIES[policy]
        self._members: list[Replica] = []
        self._chosen: list[Replica] = []
        self._loads: list[Load] = []
        self._prefixes = Prefixes()
        self._budget = RetryBudget()
        self._lengths = Lengths()
        self._chance = chance
        self._turns = itertools.count(1)
        self._lives = itertools.count(1)
        for member in members:
            self.add(member)

    @property
    def members(self) -> Sequence[Replica]:
        return tuple(self._members)

    @property
    def is_pool(self) -> bool:
        return len(self._members) > 1

    @property
    def reason(self) -> str:
        """Why none of them serves; empty while one does."""
        reasons = {one.channel.address: _reason(one) for one in self._members}
        if not all(reasons.values()) or not reasons:
            return "" if reasons else "It has no replica."
        if len(reasons) == 1:
            return next(iter(reasons.values()))
        return "No replica serves: " + " ".join(f"{at}: {why}" for at, why in reasons.items())

    def has_others(self, member: Replica) -> bool:
        """Tell whether calls can be taken by others than this one."""
        return any(one.is_chosen for one in self._members if one is not member)

    def add(self, member: Replica) -> None:
        """Take a replica in, under a new life."""
        self._members.append(member)
        member.load.life = next(self._lives)
        member.on_settle = self._settle
        self._settle()

    def remove(self, member: Replica) -> None:
        """Send no more calls to a replica; those that are open go on."""
        self._members.remove(member)
        member.on_settle = lambda: None
        self._settle()
        self._prefixes.forget(member.load.life)
        self.on_change()

    def admit(self, member: Replica, contract: AnyContract, version: str) -> None:
        """Let a replica serve by its contract. Raises ContractMismatch where others have another.

        Its KV cache and its adapters may be gone: it begins a new life, slowly where others serve.
        """
        others = [one for one in self._members if one is not member and one.contract]
        serving = [one for one in others if not one.reason]
        if serving and type(serving[0].contract) is not type(contract):
            raise ContractMismatch(
                f"Triton's model {member.model!r} at {member.channel.address} is of another kind "
                f"than at {serving[0].channel.address}: replicas of one model take the same tensors"
            )
        if serving and tells_other_tokenizer(serving[0].contract, contract):
            raise ContractMismatch(
                f"Triton's model {member.model!r} at {member.channel.address} has another "
                f"tokenizer than at {serving[0].channel.address} (tokenizer_sha256): replicas of "
                "one model read the same tokens"
            )
        is_return = bool(member.reason)
        member.contract, member.version = contract, version
        member.adapters_held.clear()
        self._prefixes.forget(member.load.life)
        member.load.life = next(self._lives)
        if is_return and serving and self.starts_slowly:
            member.standing.come_back(_now(), self._share())
        member.restore()
        self.on_change()

    def choose(self, route: Route) -> Replica:
        """Return the replica that takes a generation. Raises the GatewayError of why none does."""
        members = self._members
        if len(members) == 1 and not route.tried and not members[0].is_drained:
            members[0].check()
            return members[0]
        tried, fit = route.tried, self._chosen
        if tried:
            fit = [one for one in fit if one not in tried]
        if not fit:
            fit = [one for one in members if not _reason(one) and one not in tried]
        if not fit:
            raise route.errors[-1] if route.errors else unavailable(self.reason)
        loads = self._loads if fit is self._chosen else [one.load for one in fit]
        return self._admitting(fit, loads, route.work)

    def open(
        self, route: Route, member: Replica, counted: Counted, is_streamed: bool
    ) -> StreamCall:
        """Open a call for a generation. Raises EngineUnavailable where the replica is retired."""
        member.check()
        work, load = route.work, member.load
        if self.is_pool and (work.marks or work.session):
            route.expected = self._prefixes.note(
                load.life, work.marks, work.session, work.prompt_tokens
            )
        expected = self._lengths.expected(work.max_tokens)
        load.take_turn(next(self._turns))
        unread = work.less(int(route.expected.num_tokens * load.trust))
        call = member.stream(is_streamed, route.deadline_of(member), unread, expected, counted)
        member.standing.spend(work.prompt_tokens + expected)
        load.ask(work.prompt_tokens + expected, _now())
        return call

    def leave(
        self, route: Route, member: Replica, call: StreamCall, error: BaseException | None
    ) -> EngineUnavailable | None:
        """Give a call back; return what its caller is to be told instead, if anything."""
        told = member.leave(call, error)
        if isinstance(error, EngineUnavailable):
            route.is_lost = bool(told or member.reason) or not member.channel.is_connected
            member.doubt(is_suspect=True)
        elif isinstance(error, EngineFailure) and error.code != ADAPTER_NOT_HELD:
            self._note_failure(member)
        if route.repeat_began is not None:
            self._budget.end(route.repeat_began, _now())
            route.repeat_began = None
        return told

    def finish(self, route: Route, member: Replica, num_tokens: int, told: int | None) -> None:
        """Note a generation that ended well: its length, and what of its prompt was reused.

        `told` is in tokens, None where the engine does not tell.
        """
        self._lengths.note(num_tokens)
        if told is None:
            return
        expected = route.expected
        member.load.note_reuse(expected.num_tokens, told)
        if told + SLACK_TOKENS < expected.num_tokens and expected.last_used:
            self._prefixes.correct(member.load.life, expected.last_used)

    def may_repeat(self, route: Route, member: Replica, error: GatewayError) -> bool:
        """Tell whether a generation that failed may be sent again; note where it failed."""
        if error.code == ADAPTER_NOT_HELD and route.lora and member not in route.readapted:
            member.adapters_held.discard(route.lora.task_id)
            route.readapted.append(member)
            return True
        again = verdict(error, route.errors, is_lost=route.is_lost)
        route.note(member, error)
        others = [one for one in self._members if one not in route.tried and not _reason(one)]
        if again is Again.NEVER or not others:
            return False
        if again is Again.RETRY:
            if not self._budget.allows(self._num_live(), _now()):
                REPLICA_EVENTS.labels("retry_refused").inc()
                return False
            route.repeat_began = _now()
        REPLICA_EVENTS.labels("retried" if again is Again.RETRY else "moved").inc()
        return True

    def note_returns(self) -> None:
        """Let those back in whose time of ejection is over."""
        now = _now()
        for member in self._members:
            if 0 < member.standing.ejected_until <= now:
                member.standing.come_back(now, self._share())
                member.settle()
                log.info("replica_returns", triton=member.channel.address)

    def route(self, work: Work = NO_WORK, lora: Lora | None = None) -> Route:
        """Return the way of a new generation."""
        return Route(work, lora, may_repeat=self.is_pool or lora is not None)

    def views(self) -> list[ReplicaView]:
        """Return what is known of each replica."""
        return [view_of(member) for member in self._members]

    @property
    def version(self) -> str:
        """What serves and how it was built, of all of them."""
        return " | ".join(sorted({one.version for one in self._members if one.contract}))

    @property
    def features(self) -> frozenset[Feature]:
        """What all of them can do."""
        return frozenset.intersection(*(one.features for one in self._contracts))

    @property
    def max_model_len(self) -> int:
        """Tokens of context that all of them have."""
        return min(one.max_model_len for one in self._contracts)

    @property
    def _contracts(self) -> list[AnyContract]:
        return [one.contract for one in self._members if one.contract]

    def _admitting(self, fit: Sequence[Replica], loads: Sequence[Load], work: Work) -> Replica:
        """Return the one that the policy picks of those whose slow start lets it."""
        known = self._predict(work)
        now, first = _now(), None
        while loads:
            at = loads.index(self._policy(loads, work, known))
            member = fit[at]
            if member.standing.admits(now):
                return member
            first = first or member
            fit, loads = [*fit[:at], *fit[at + 1 :]], [*loads[:at], *loads[at + 1 :]]
        assert first
        return first

    def _settle(self) -> None:
        """Note which replicas are to be chosen from."""
        self._chosen = [one for one in self._members if one.is_chosen]
        self._loads = [one.load for one in self._chosen]

    def _predict(self, work: Work) -> Known:
        if self._policy is round_robin or not (work.marks or work.session):
            return NOTHING_KNOWN
        return self._prefixes.predict(work.marks, work.session, work.prompt_tokens)

    def _note_failure(self, member: Replica) -> None:
        serving = sum(one.is_chosen for one in self._members)
        if not member.standing.note_failure() or not may_eject(serving, len(self._members)):
            return
        seconds = member.standing.eject(_now(), self._chance())
        member.settle()
        REPLICA_EVENTS.labels("ejected").inc()
        log.warning("replica_ejected", triton=member.channel.address, seconds=round(seconds, 1))

    def _num_live(self) -> int:
        return sum(one.load.num_calls for one in self._members)

    def _share(self) -> float:
        """Return the tokens a second that are a fair share of what is asked for now."""
        total = sum(one.load.asked_tokens_per_s(_now()) for one in self._members)
        return total / max(1, len(self._members))


def _reason(member: Replica) -> str:
    return member.reason or ("It is drained." if member.is_drained else "")


def _now() -> float:
    return asyncio.get_running_loop().time()
