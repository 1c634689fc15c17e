"""A mock Triton: serialised messages on a shared tick, so that only the gateway's cost is seen.

It answers the probes like a `tensorrt_llm` model. Every stream gets one token a tick, all at the
same moment, as an in-flight batcher does; without a pace each goes as fast as it is read.
"""

import argparse
import struct
from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from tritonclient.grpc import model_config_pb2 as mc
from tritonclient.grpc import service_pb2 as pb

from bench.clock import Clock, serve, unary
from gateway.triton.contract import FEATURE_INPUTS, REQUIRED_INPUTS, REQUIRED_OUTPUTS

SERVICE = "/inference.GRPCInferenceService/"
SCALARS = {
    "seed",
    "end_id",
    "runtime_top_k",
    "runtime_top_p",
    "temperature",
    "exclude_input_in_output",
}
TOKENS = range(1000, 1256)
PLACEHOLDER = struct.pack("<i", 0x7ACEB00C)


def config() -> bytes:
    """Return the ModelConfig of a decoupled tensorrt_llm model."""
    message = mc.ModelConfig(name="tensorrt_llm", max_batch_size=64)
    message.model_transaction_policy.decoupled = True
    message.parameters["max_seq_len"].string_value = "8192"
    optional = {name for names in FEATURE_INPUTS.values() for name in names}
    for name in sorted(REQUIRED_INPUTS | SCALARS | optional):
        message.input.add(name=name)
    for name in sorted(REQUIRED_OUTPUTS):
        message.output.add(name=name)
    return bytes(pb.ModelConfigResponse(config=message).SerializeToString())


def tokens_message(request_id: str, ids: bytes, *, is_final: bool) -> bytes:
    """Return one serialised streamed response, as tritonserver sends it; `ids` are INT32."""
    count = len(ids) // 4
    message = pb.ModelStreamInferResponse()
    response = message.infer_response
    response.id, response.model_name, response.model_version = request_id, "tensorrt_llm", "1"
    response.parameters["triton_final_response"].bool_param = is_final
    response.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1, count])
    response.outputs.add(name="sequence_length", datatype="INT32", shape=[1, 1])
    response.raw_output_contents.extend([ids, struct.pack("<i", count)])
    return bytes(message.SerializeToString())


def token_ids(count: int) -> bytes:
    """Return ids of ordinary words, repeated."""
    return struct.pack(f"<{count}i", *(TOKENS[i % len(TOKENS)] for i in range(count)))


class MockTriton:
    """Answers what a gateway asks of Triton."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def handler(self, method: str) -> grpc.RpcMethodHandler | None:
        """Return what answers a method, if anything does."""
        answers = {
            "ModelConfig": config,
            "ServerMetadata": pb.ServerMetadataResponse(name="mock").SerializeToString,
            "ModelReady": pb.ModelReadyResponse(ready=True).SerializeToString,
        }
        name = method.removeprefix(SERVICE)
        if name == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=pb.ModelInferRequest.FromString
            )
        return unary(answers[name]) if name in answers else None

    async def _stream(self, requests: AsyncIterator[Any], _: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            names = [tensor.name for tensor in request.inputs]
            raw = request.raw_input_contents[names.index("request_output_len")]
            ids = token_ids(*struct.unpack("<i", raw))
            if request.raw_input_contents[names.index("streaming")] == b"\1":
                async for message in self._one_by_one(request.id, ids):
                    yield message
            else:
                await self._clock.tick()
                yield tokens_message(request.id, ids, is_final=True)

    async def _one_by_one(self, request_id: str, ids: bytes) -> AsyncIterator[bytes]:
        message = tokens_message(request_id, PLACEHOLDER, is_final=False)
        before, after = message.split(PLACEHOLDER)
        for at in range(0, len(ids) - 4, 4):
            await self._clock.tick()
            yield before + ids[at : at + 4] + after
        await self._clock.tick()
        yield tokens_message(request_id, ids[-4:], is_final=True)


def main() -> None:
    """Run the mock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pace-ms", type=float, default=20)
    options = parser.parse_args()

    async def run() -> None:
        clock = Clock(options.pace_ms / 1000)
        await serve(clock, options.port, MockTriton(clock).handler)

    uvloop.run(run())


if __name__ == "__main__":
    main()
