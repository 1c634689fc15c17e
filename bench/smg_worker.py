"""A mock vLLM worker for SMG's gRPC mode, on the protos of `smg-grpc-proto`, on a shared tick.

Runs in the throwaway environment of that package; imports nothing else of this project than the
clock.
"""

import argparse
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import grpc
import uvloop
from smg_grpc_proto.generated import vllm_engine_pb2 as pb

from bench.clock import Clock, serve, unary

SERVICE = "/vllm.grpc.engine.VllmEngine/"
TOKENS = range(1000, 1256)
PROMPT_TOKENS = 64


@cache
def chunk_message(number: int, token: int) -> bytes:
    """Return the serialised message of one token."""
    chunk = pb.GenerateStreamChunk(
        token_ids=[token], prompt_tokens=PROMPT_TOKENS, completion_tokens=number + 1
    )
    return bytes(pb.GenerateResponse(chunk=chunk).SerializeToString())


class MockWorker:
    """Answers what SMG asks of a vLLM worker that serves `model` with a Llama tokenizer."""

    def __init__(self, clock: Clock, model: str, tokenizer: str) -> None:
        self._clock = clock
        self._info = pb.GetModelInfoResponse(
            model_path=tokenizer,
            tokenizer_path=tokenizer,
            served_model_name=model,
            is_generation=True,
            max_context_length=8192,
            max_req_input_len=8192,
            vocab_size=128256,
            model_type="llama",
            architectures=["LlamaForCausalLM"],
            eos_token_ids=[128001, 128008, 128009],
            bos_token_id=128000,
        )

    def handler(self, method: str) -> grpc.RpcMethodHandler | None:
        """Return what answers a method, if anything does."""
        answers = {
            "HealthCheck": pb.HealthCheckResponse(healthy=True).SerializeToString,
            "GetModelInfo": self._info.SerializeToString,
            "GetServerInfo": pb.GetServerInfoResponse(
                server_type="vllm-grpc", data_parallel_size=1
            ).SerializeToString,
            "GetLoads": pb.GetLoadsResponse(
                dp_rank_count=1, loads=[pb.SchedulerLoad(max_running_requests=4096)]
            ).SerializeToString,
            "Abort": pb.AbortResponse().SerializeToString,
        }
        name = method.removeprefix(SERVICE)
        if name == "Generate":
            return grpc.unary_stream_rpc_method_handler(
                self._generate, request_deserializer=pb.GenerateRequest.FromString
            )
        return unary(answers[name]) if name in answers else None

    async def _generate(self, request: Any, _: Any) -> AsyncIterator[bytes]:
        count = request.sampling_params.max_tokens
        ids = [TOKENS[i % len(TOKENS)] for i in range(count)]
        for number, token in enumerate(ids if request.stream else ()):
            await self._clock.tick()
            yield chunk_message(number, token)
        if not request.stream:
            await self._clock.tick()
        complete = pb.GenerateComplete(
            output_ids=ids,
            finish_reason="length",
            prompt_tokens=PROMPT_TOKENS,
            completion_tokens=count,
        )
        yield pb.GenerateResponse(complete=complete).SerializeToString()


def main() -> None:
    """Run the mock."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pace-ms", type=float, default=20)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokenizer", required=True)
    options = parser.parse_args()

    async def run() -> None:
        clock = Clock(options.pace_ms / 1000)
        worker = MockWorker(clock, options.model, options.tokenizer)
        await serve(clock, options.port, worker.handler)

    uvloop.run(run())


if __name__ == "__main__":
    main()
