"""CPU microseconds of the gateway per streamed token, over gRPC and over HTTP in the same run.

A mock Triton sets the pace; rounds of both alternate, so that neither has the warmer process. Each
of the gateway's two gRPC servers has its turn.

    python -m bench.grpc_vs_http --tokenizer DIR
"""

import argparse
import asyncio
import os
import statistics
from itertools import product
from pathlib import Path

import grpc.aio

from bench.load import Load, run
from bench.process import cpu_s, free_port, process, wait_ready
from gateway.client import conversation, user
from gateway.v1.chat_pb2 import ChatCompletionEvent, ChatCompletionRequest
from gateway.v1.generation_pb2 import Limits

LOADS = ((20, 32, 256), (20, 128, 128), (0, 32, 256))
"""Milliseconds between a stream's tokens, streams, tokens of each."""

METHOD = "/gateway.v1.ChatService/StreamChatCompletion"


async def over_http(url: str, streams: int, tokens: int) -> None:
    """Read so many streams at once to their end."""
    outcome = await run(Load(url, "bench", streams, tokens))
    assert not outcome.failed


async def over_grpc(address: str, streams: int, tokens: int) -> None:
    """Read so many streams at once to their end."""
    request = ChatCompletionRequest(
        model="bench",
        conversation=conversation(user(Load("", "", 1, 1).prompt)),
        limits=Limits(max_tokens=tokens, ignore_eos=True),
    ).SerializeToString()

    async def one(stream: grpc.aio.UnaryStreamMultiCallable) -> int:
        messages = [message async for message in stream(request)]
        return ChatCompletionEvent.FromString(messages[-1]).usage.completion_tokens

    async with grpc.aio.insecure_channel(address) as channel:
        stream = channel.unary_stream(METHOD)
        counts = await asyncio.gather(*(one(stream) for _ in range(streams)))
    assert set(counts) == {tokens}


def compare(pid: int, url: str, address: str, streams: int, tokens: int, rounds: int) -> None:
    """Alternate rounds and print the median costs and their ratio."""
    costs: dict[str, list[float]] = {"HTTP": [], "gRPC": []}
    sides = {
        "HTTP": lambda: over_http(url, streams, tokens),
        "gRPC": lambda: over_grpc(address, streams, tokens),
    }
    for side in sides.values():
        asyncio.run(side())
    for number in range(rounds):
        for name in sorted(sides, reverse=bool(number % 2)):
            before = cpu_s(pid)
            asyncio.run(sides[name]())
            costs[name].append((cpu_s(pid) - before) * 1e6 / (streams * tokens))
    http, rpc = (statistics.median(costs[name]) for name in ("HTTP", "gRPC"))
    print(f"HTTP {http:6.1f}, gRPC {rpc:6.1f} us/token, gRPC/HTTP {rpc / http:.2f}  {costs}")


def main() -> None:
    """Measure and print a line for each load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--servers", nargs="+", default=["http2", "grpc"])
    options = parser.parse_args()
    os.environ["GATEWAY_LOG_LEVEL"] = "warning"
    for (pace_ms, streams, tokens), server in product(LOADS, options.servers):
        os.environ["GATEWAY_GRPC_SERVER"] = server
        triton, port, grpc_port = free_port(), free_port(), free_port()
        url, address = f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}"
        served = [f"--tokenizer={options.tokenizer}", "--model-id=bench"]
        ports = [f"--triton=127.0.0.1:{triton}", f"--http-port={port}", f"--grpc-port={grpc_port}"]
        with (
            process("bench.mock_triton", f"--port={triton}", f"--pace-ms={pace_ms}"),
            process("gateway", "serve", *ports, *served) as gateway,
        ):
            wait_ready(url)
            print(f"{streams:3} streams, {pace_ms:2} ms, {server:5}: ", end="", flush=True)
            compare(gateway.pid, url, address, streams, tokens, options.rounds)


if __name__ == "__main__":
    main()
