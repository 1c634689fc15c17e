"""A mock Triton: serialised messages on a shared tick, so that only the gateway's cost is seen.

It answers the probes like a `tensorrt_llm` model. Every stream gets one token a tick, all at the
same moment, as an in-flight batcher does; without a pace each goes as fast as it is read.
"""

import argparse
import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import uvloop
from tritonclient.grpc import model_config_pb2 as mc
from tritonclient.grpc import service_pb2 as pb

from gateway.triton.contract import FEATURE_INPUTS, REQUIRED_INPUTS, REQUIRED_OUTPUTS

SERVICE = "/inference.GRPCInferenceService/"
SCALARS = {"seed", "end_id", "runtime_top_k", "runtime_top_p", "temperature", "exclude_input_in_output"}


def config() -> Any:
    """Return the ModelConfig of a decoupled tensorrt_llm model."""
    message = mc.ModelConfig(name="tensorrt_llm", max_batch_size=64)
    message.model_transaction_policy.decoupled = True
    message.parameters["max_seq_len"].string_value = "8192"
    optional = {name for names in FEATURE_INPUTS.values() for name in names}
    for name in sorted(REQUIRED_INPUTS | SCALARS | optional):
        message.input.add(name=name)
    for name in sorted(REQUIRED_OUTPUTS):
        message.output.add(name=name)
    return pb.ModelConfigResponse(config=message)


def token_message(request_id: str, token_id: int, is_final: bool) -> bytes:
    """Return one serialised streamed response, as tritonserver sends it."""
    message = pb.ModelStreamInferResponse()
    response = message.infer_response
    response.id, response.model_name, response.model_version = request_id, "tensorrt_llm", "1"
    response.parameters["triton_final_response"].bool_param = is_final
    for name, value in (("output_ids", token_id), ("sequence_length", 1)):
        shape = [1, 1, 1] if name == "output_ids" else [1, 1]
        response.outputs.add(name=name, datatype="INT32", shape=shape)
        response.raw_output_contents.append(struct.pack("<i", value))
    return bytes(message.SerializeToString())


class Clock:
    """One tick for all streams; a pace of 0 never waits."""

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s
        self._tick = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self._pace_s:
            due += self._pace_s
            await asyncio.sleep(due - loop.time())
            self._tick.set()
            self._tick = asyncio.Event()

    async def tick(self) -> None:
        if self._pace_s:
            await self._tick.wait()


class MockTriton(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers what the gateway asks; `tokens` are ids of ordinary words, repeated."""

    def __init__(self, tokens: list[int], clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    def service(self, details: Any) -> Any:
        unary = {
            "ModelConfig": config,
            "ServerMetadata": lambda: pb.ServerMetadataResponse(name="mock", version="0"),
            "ModelReady": lambda: pb.ModelReadyResponse(ready=True),
        }
        method = details.method.removeprefix(SERVICE)
        if method == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=pb.ModelInferRequest.FromString
            )

        async def answer(_: bytes, __: Any) -> Any:
            return unary[method]().SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer) if method in unary else None

    async def _stream(self, requests: AsyncIterator[Any], _: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            names = [tensor.name for tensor in request.inputs]
            raw = request.raw_input_contents[names.index("request_output_len")]
            (count,) = struct.unpack("<i", raw)
            streaming = request.raw_input_contents[names.index("streaming")] == b"\1"
            if not streaming:
                await self._clock.tick()
                yield self._whole(request.id, count)
                continue
            for i in range(count):
                await self._clock.tick()
                token_id = self._tokens[i % len(self._tokens)]
                yield token_message(request.id, token_id, i == count - 1)

    def _whole(self, request_id: str, count: int) -> bytes:
        ids = [self._tokens[i % len(self._tokens)] for i in range(count)]
        message = pb.ModelStreamInferResponse()
        message.ParseFromString(token_message(request_id, 0, True))
        message.infer_response.raw_output_contents[0] = struct.pack(f"<{count}i", *ids)
        message.infer_response.raw_output_contents[1] = struct.pack("<i", count)
        return bytes(message.SerializeToString())


async def serve(port: int, pace_s: float, tokens: list[int]) -> None:
    """Serve on loopback until cancelled."""
    clock = Clock(pace_s)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([MockTriton(tokens, clock)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.gather(clock.run(), server.wait_for_termination())


def main() -> None:
    """Run the mock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pace-ms", type=float, default=20)
    parser.add_argument("--tokens", type=int, nargs="+", default=list(range(1000, 1256)))
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.pace_ms / 1000, options.tokens))


if __name__ == "__main__":
    main()
