"""Engines in front of a Triton that answers, without the keeper that would look after it."""

from gateway.blueprints import Blueprint
from gateway.engine import Engine
from gateway.prompt.tokenizer import Tokenizer
from gateway.triton.channel import Channel
from gateway.triton.deployment import ServedWith, engine_of, read_deployment
from gateway.triton.replica import Replica


async def probed(channel: Channel, served_with: ServedWith, model: str = "tensorrt_llm") -> Engine:
    """Return the engine for a model as Triton describes it now; it owns the channel."""
    deployment = await read_deployment(channel, model)
    return engine_of(Replica(channel, model), deployment, served_with)


async def probed_for(blueprint: Blueprint) -> Engine:
    """Return the engine of a blueprint."""
    channel = blueprint.channel()
    try:
        return await probed(channel, blueprint.served_with, blueprint.settings.triton.model)
    except BaseException:
        await channel.close()
        raise


def served_with(tokenizer: Tokenizer, max_model_len: int | None = None) -> ServedWith:
    """Return what an engine is to know of a model with this tokenizer."""
    return ServedWith(tokenizer.vocab_size, max_model_len, tokenizer)
