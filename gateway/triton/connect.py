"""From a way to Triton and a model's name to the engine that speaks that model's contract."""

from typing import Any

import grpc

from gateway.engine import Engine
from gateway.errors import EngineUnavailable
from gateway.triton.channel import Channel
from gateway.triton.contract import read_contract
from gateway.triton.engine import TritonEngine
from gateway.triton.ensemble import EnsembleEngine, read_ensemble
from gateway.triton.llmapi import LlmApiEngine, read_llmapi
from gateway.triton.text import TextCodec


async def connect(
    channel: Channel, model: str, vocab_size: int, max_model_len: int | None, codec: TextCodec
) -> Engine:
    """Probe what kind of model it is and return the engine for it, which owns the channel.

    `tensorrt_llm` takes token ids; `ensemble` and NVIDIA's `llmapi` model only take text, whose
    tokens `codec` counts. The channel is closed where this raises.

    Raises ContractMismatch naming the tensor or setting at fault, EngineUnavailable when there is
    no such Triton or model.
    """
    try:
        config = await channel.config(model)
        version = await channel.server_version()
        return await _engine(channel, config, version, vocab_size, max_model_len, codec)
    except grpc.RpcError as error:
        await channel.close()
        raise EngineUnavailable(
            f"Triton does not answer for its model {model!r}.",
            detail=f"{channel.address}: {error.details()}",
        ) from error
    except BaseException:
        await channel.close()
        raise


async def _engine(
    channel: Channel,
    config: Any,
    version: str,
    vocab_size: int,
    max_model_len: int | None,
    codec: TextCodec,
) -> Engine:
    inputs = {tensor.name for tensor in config.input}
    if "sampling_param_max_tokens" in inputs:
        llmapi = read_llmapi(config, max_model_len)
        return LlmApiEngine(channel, llmapi, version, codec)
    if "text_input" in inputs:
        configs = [await channel.config(s.model_name) for s in config.ensemble_scheduling.step]
        ensemble = read_ensemble(config, configs, max_model_len)
        return EnsembleEngine(channel, ensemble, version, codec)
    contract = read_contract(config, vocab_size, max_model_len)
    return TritonEngine(channel, contract, f"{version} {sorted(contract.parameters.items())}")
