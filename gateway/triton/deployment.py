"""What a Triton says of a model when it is probed, and the engine that speaks such a contract."""

from dataclasses import dataclass
from typing import Any

import grpc

from gateway.engine import Engine
from gateway.errors import EngineUnavailable
from gateway.triton.channel import Channel
from gateway.triton.contract import AnyContract, Contract, read_contract
from gateway.triton.engine import TritonEngine
from gateway.triton.ensemble import Ensemble, EnsembleEngine, read_ensemble
from gateway.triton.llmapi import LlmApi, LlmApiEngine, read_llmapi
from gateway.triton.replica import RETRY_AFTER_S
from gateway.triton.replicas import Replicas
from gateway.triton.text import TextCodec
from gateway.triton.vllm import Vllm, VllmEngine, read_vllm


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


def contract_of(deployment: Deployment, served_with: ServedWith) -> AnyContract:
    """Return what was probed as a contract.

    `tensorrt_llm` takes token ids; `ensemble`, NVIDIA's `llmapi` and the vLLM backend's models only
    take text.

    Raises ContractMismatch naming the tensor or setting at fault.
    """
    config, limit = deployment.config, served_with.max_model_len
    inputs = {tensor.name for tensor in config.input}
    if "sampling_param_max_tokens" in inputs:
        return read_llmapi(config, limit)
    if {"text_input", "sampling_parameters"} <= inputs:
        return read_vllm(config, limit)
    if "text_input" in inputs:
        return read_ensemble(config, deployment.steps, limit)
    return read_contract(config, served_with.vocab_size, limit)


def version_of(deployment: Deployment, contract: AnyContract) -> str:
    """Return what serves, and how it was built as far as it tells."""
    if isinstance(contract, Contract):
        return f"{deployment.version} {sorted(contract.parameters.items())}"
    return deployment.version


def engine_of(replicas: Replicas, served_with: ServedWith) -> Engine:
    """Return the engine for what replicas have in common; one of them has a contract at least."""
    kinds = {type(one.contract) for one in replicas.members if one.contract}
    if LlmApi in kinds:
        return LlmApiEngine(replicas, served_with.codec)
    if Vllm in kinds:
        return VllmEngine(replicas, served_with.codec)
    if Ensemble in kinds:
        return EnsembleEngine(replicas, served_with.codec)
    return TritonEngine(replicas)
