"""What a Triton says of a model when it is probed, and the engine that speaks such a contract."""

from dataclasses import dataclass
from typing import Any

import grpc

from gateway.engine import Engine
from gateway.errors import EngineUnavailable
from gateway.triton.channel import Channel
from gateway.triton.contract import read_contract
from gateway.triton.engine import TritonEngine
from gateway.triton.ensemble import EnsembleEngine, read_ensemble
from gateway.triton.llmapi import LlmApiEngine, read_llmapi
from gateway.triton.replica import RETRY_AFTER_S, Replica
from gateway.triton.text import TextCodec


@dataclass(frozen=True, slots=True)
class Deployment:
    """The `ModelConfig` of a model, those of its steps if it is an ensemble, the server's version.

    Two are equal where the same contract was read.
    """

    config: Any
    steps: tuple[Any, ...]
    version: str


@dataclass(frozen=True, slots=True)
class ServedWith:
    """What an engine needs to know of the model beside its contract.

    `max_model_len`, in tokens, is what is configured, if anything; `codec` counts the tokens of
    engines that only take text.
    """

    vocab_size: int
    max_model_len: int | None
    codec: TextCodec


async def read_deployment(channel: Channel, model: str) -> Deployment:
    """Probe what serves a model. Raises EngineUnavailable where no such Triton or model is."""
    try:
        config = await channel.config(model)
        names = [step.model_name for step in config.ensemble_scheduling.step]
        steps = [await channel.config(name) for name in names]
        return Deployment(config, tuple(steps), await channel.server_version())
    except grpc.RpcError as error:
        raise EngineUnavailable(
            f"Triton does not answer for its model {model!r}.",
            detail=f"{channel.address}: {error.details()}",
            retry_after_s=RETRY_AFTER_S,
        ) from error


def engine_of(replica: Replica, deployment: Deployment, served_with: ServedWith) -> Engine:
    """Return the engine for what was probed.

    `tensorrt_llm` takes token ids; `ensemble` and NVIDIA's `llmapi` model only take text.

    Raises ContractMismatch naming the tensor or setting at fault.
    """
    config, limit = deployment.config, served_with.max_model_len
    inputs = {tensor.name for tensor in config.input}
    if "sampling_param_max_tokens" in inputs:
        llmapi = read_llmapi(config, limit)
        return LlmApiEngine(replica, llmapi, deployment.version, served_with.codec)
    if "text_input" in inputs:
        ensemble = read_ensemble(config, deployment.steps, limit)
        return EnsembleEngine(replica, ensemble, deployment.version, served_with.codec)
    contract = read_contract(config, served_with.vocab_size, limit)
    version = f"{deployment.version} {sorted(contract.parameters.items())}"
    return TritonEngine(replica, contract, version)
