"""Tritons in this process that answer as a test says: real sockets, real gRPC, scripted tokens."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2 as pb

from gateway.triton.contract import REQUIRED_INPUTS, REQUIRED_OUTPUTS

FULL = "Exceeds maximum queue size"


@dataclass
class Outcome:
    """What becomes of a call: an error message at once, or tokens; and then how it goes on.

    It waits where it `hangs`, ends by a status where there is one, else as it should; before the
    token after so many it may wait until `goes_on` is set.
    """

    error: str = ""
    num_tokens: int | None = None
    hangs: bool = False
    pauses_after: int = 0
    status: grpc.StatusCode | None = None
    reused_blocks: int | None = None


@dataclass
class ScriptedTriton(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A `tensorrt_llm` model. Each token is the sum of all before it, modulo 251.

    Calls take the outcomes in order, and end well after the last; `arrivals` tells of each.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    inputs: set[str] = field(default_factory=lambda: {*REQUIRED_INPUTS, "end_id"})
    outputs: set[str] = field(default_factory=lambda: {*REQUIRED_OUTPUTS})
    max_seq_len: str = "2048"
    asked: list[Any] = field(default_factory=list)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)
    address: str = ""

    def service(self, call: Any) -> Any:
        method = call.method.rpartition("/")[2]
        if method == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=pb.ModelInferRequest.FromString
            )
        answers: dict[str, Callable[[], Any]] = {
            "ModelConfig": self._config,
            "ModelReady": lambda: pb.ModelReadyResponse(ready=True),
            "ServerMetadata": lambda: pb.ServerMetadataResponse(name="triton", version="1"),
        }

        async def answer(_: bytes, __: Any) -> bytes:
            return bytes(answers[method]().SerializeToString())

        return grpc.unary_unary_rpc_method_handler(answer)

    def _config(self) -> Any:
        response = pb.ModelConfigResponse()
        config = response.config
        config.name, config.max_batch_size = "tensorrt_llm", 8
        config.model_transaction_policy.decoupled = True
        for name in sorted(self.inputs):
            config.input.add(name=name)
        for name in sorted(self.outputs):
            config.output.add(name=name)
        config.parameters["max_seq_len"].string_value = self.max_seq_len
        return response

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            self.asked.append(request)
            self.arrivals.put_nowait(None)
            outcome = self.outcomes.pop(0) if self.outcomes else Outcome()
            if outcome.error:
                yield message_of([], is_final=True, error=outcome.error)
                return
            raw = tensors_of(request)
            ids = [each for (each,) in struct.iter_unpack("<i", raw["input_ids"])]
            (most,) = struct.unpack("<i", raw["request_output_len"])
            number = most if outcome.num_tokens is None else outcome.num_tokens
            for count in range(1, number + 1):
                ids.append(sum(ids) % 251)
                is_final = count == most
                yield message_of(ids[-1:], is_final=is_final, reused=outcome.reused_blocks)
                if count == outcome.pauses_after:
                    await self.goes_on.wait()
            if outcome.hangs:
                await asyncio.Event().wait()
            if outcome.status:
                await context.abort(outcome.status, "as scripted")


def tensors_of(request: Any) -> dict[str, bytes]:
    """Return the raw contents of a request's tensors by name."""
    names = [tensor.name for tensor in request.inputs]
    return dict(zip(names, request.raw_input_contents, strict=True))


def message_of(
    ids: Sequence[int], *, is_final: bool, error: str = "", reused: int | None = None
) -> bytes:
    """Return a serialised response."""
    message = pb.ModelStreamInferResponse(error_message=error)
    response = message.infer_response
    response.parameters["triton_final_response"].bool_param = is_final
    if ids:
        response.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1, len(ids)])
        response.outputs.add(name="sequence_length", datatype="INT32", shape=[1, 1])
        packed = struct.pack(f"<{len(ids)}i", *ids)
        response.raw_output_contents.extend([packed, struct.pack("<i", len(ids))])
    if ids and is_final and reused is not None:
        response.outputs.add(name="kv_cache_reused_blocks", datatype="INT32", shape=[1, 1])
        response.raw_output_contents.append(struct.pack("<i", reused))
    return bytes(message.SerializeToString())


@asynccontextmanager
async def standing(*tritons: ScriptedTriton) -> AsyncIterator[list[grpc.aio.Server]]:
    """Let Tritons stand, each at a port of its own; they may be stopped meanwhile."""
    servers = []
    for triton in tritons:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([triton])
        triton.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        servers.append(server)
    try:
        yield servers
    finally:
        await asyncio.gather(*(server.stop(0) for server in servers))
