"""What is known of a replica, for people and for admission. Read-only."""

from dataclasses import dataclass

from gateway.triton.replica import Replica


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica as it stands.

    `waiting_prompt_tokens` are those of calls of which nothing has come, `expected_tokens` what
    open calls are expected to generate yet, `ahead_s` the seconds that both take; all three count
    only what this process sent there. `kv_capacity_tokens` and `kv_used`, a fraction, are 0 where
    Triton's metrics are not read. `predicted_reuse_tokens` were expected to be found in the KV
    cache, `told_reuse_tokens` were.
    """

    address: str
    state: str
    reason: str
    num_calls: int
    waiting_prompt_tokens: int
    expected_tokens: int
    ahead_s: float
    tokens_per_s: float
    prefill_tokens_per_s: float
    kv_capacity_tokens: int
    kv_used: float
    predicted_reuse_tokens: int
    told_reuse_tokens: int


def view_of(replica: Replica) -> ReplicaView:
    """Return a replica as it stands now."""
    load, kv = replica.load, replica.load.kv
    return ReplicaView(
        address=replica.channel.address,
        state=state_of(replica),
        reason=replica.reason,
        num_calls=load.num_calls,
        waiting_prompt_tokens=load.waiting_prompt_tokens,
        expected_tokens=round(load.expected_tokens),
        ahead_s=round(load.ahead_s, 3),
        tokens_per_s=round(load.tokens_per_s, 1),
        prefill_tokens_per_s=round(load.prefill_tokens_per_s, 1),
        kv_capacity_tokens=kv.capacity_tokens,
        kv_used=round(kv.used, 3),
        predicted_reuse_tokens=load.predicted_tokens,
        told_reuse_tokens=load.told_tokens,
    )


def state_of(replica: Replica) -> str:
    """Return in a word how a replica is doing."""
    if replica.reason:
        return "down"
    if replica.is_drained:
        return "drained" if not replica.num_open else "draining"
    if replica.standing.ejected_until:
        return "ejected"
    if replica.is_suspect:
        return "suspect"
    return "slow start" if replica.standing.is_starting else "serving"
