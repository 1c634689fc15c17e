"""Engines in front of a Triton that answers, without the monitor that would look after it."""

from collections.abc import Sequence
from typing import Any

from gateway.blueprints import Blueprint
from gateway.engine import Engine
from gateway.prompt.tokenizer import Tokenizer
from gateway.triton.call import Asked, EngineRequest
from gateway.triton.channel import Channel
from gateway.triton.contract import AnyContract
from gateway.triton.deployment import (
    ServedWith,
    contract_of,
    engine_of,
    read_deployment,
    version_of,
)
from gateway.triton.policies import PolicyName
from gateway.triton.replica import Replica
from gateway.triton.replicas import Replicas


async def probed(channel: Channel, served_with: ServedWith, model: str = "tensorrt_llm") -> Engine:
    """Return the engine for a model as Triton describes it now; it owns the channel."""
    deployment = await read_deployment(channel, model)
    contract = contract_of(deployment, served_with)
    replicas = pool([Replica(channel, model)], contract, version_of(deployment, contract))
    return engine_of(replicas, served_with)


async def probed_for(blueprint: Blueprint) -> Engine:
    """Return the engine of a blueprint."""
    triton = blueprint.settings.triton
    channel = blueprint.channel(triton.address)
    try:
        return await probed(channel, blueprint.served_with, triton.model)
    except BaseException:
        await channel.close()
        raise


def pool(
    members: Sequence[Replica],
    contract: AnyContract,
    version: str = "scripted",
    policy: PolicyName = "least_work",
) -> Replicas:
    """Return replicas that all serve by one contract."""
    replicas = Replicas(policy, members, chance=lambda: 0.5)
    for member in members:
        replicas.admit(member, contract, version)
    return replicas


def asked(replica: Replica, message: Any, request: EngineRequest) -> Asked:
    """Return a call of one replica with a message that is made already."""

    async def compose(_: Replica) -> Any:
        return message

    replicas = Replicas(members=[replica])
    return Asked(replicas, compose, request, replicas.route())


def served_with(tokenizer: Tokenizer, max_model_len: int | None = None) -> ServedWith:
    """Return what an engine is to know of a model with this tokenizer."""
    return ServedWith(tokenizer.vocab_size, max_model_len, tokenizer)
