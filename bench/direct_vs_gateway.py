"""Tokens/s of concurrent streams through the gateway and straight from Triton, in one run.

Both sides get the same greedy prompts, all at once; rounds alternate so that neither profits
from a warmer cache. Start a stack first (`gateway up`), then:

    python -m bench.direct_vs_gateway --url http://127.0.0.1:8080 --triton 127.0.0.1:8001
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp
import numpy as np
import orjson
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

PROMPT = "Write a long story about a lighthouse keeper and number {} of his ships."


async def chat_tokens(session: aiohttp.ClientSession, url: str, body: dict[str, object]) -> int:
    """Stream one chat; return its completion tokens."""
    tokens = 0
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if line.startswith(b"data: {"):
                chunk = orjson.loads(line[6:])
                tokens = (chunk["usage"] or {}).get("completion_tokens", tokens)
    return tokens


def tensors(prompt: list[int], max_tokens: int) -> list[InferInput]:
    """Return the inputs of one greedy streaming generation that ignores end tokens."""
    values = {
        "input_ids": np.array([prompt], np.int32),
        "input_lengths": np.array([[len(prompt)]], np.int32),
        "request_output_len": np.array([[max_tokens]], np.int32),
        "runtime_top_k": np.array([[1]], np.int32),
        "streaming": np.array([[True]]),
    }
    inputs = []
    for name, value in values.items():
        datatype = "BOOL" if value.dtype == bool else "INT32"
        inputs.append(InferInput(name, list(value.shape), datatype))
        inputs[-1].set_data_from_numpy(value)
    return inputs


async def triton_tokens(client: InferenceServerClient, inputs: list[InferInput], id_: str) -> int:
    """Stream one generation straight from Triton; return its tokens."""

    async def requests():  # type: ignore[no-untyped-def]
        yield {"model_name": "tensorrt_llm", "inputs": inputs, "request_id": id_}

    tokens = 0
    async for result, error in client.stream_infer(requests()):
        if error:
            raise error
        tokens += int(result.as_numpy("sequence_length")[0][0])
    return tokens


async def rate(streams: list[Callable[[], Awaitable[int]]]) -> float:
    """Run the streams at once; return tokens per second."""
    started = time.perf_counter()
    tokens = sum(await asyncio.gather(*(stream() for stream in streams)))
    return tokens / (time.perf_counter() - started)


async def compare(options: argparse.Namespace) -> None:
    """Alternate rounds of both sides; print the median rates, their ratio and that of rounds."""
    rates: dict[str, list[float]] = {"triton": [], "gateway": []}
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        InferenceServerClient(options.triton) as client,
    ):
        async with session.get(f"{options.url}/v1/models") as response:
            model = (await response.json())["data"][0]["id"]
        prompts = [await _ids(session, options.url, model, i) for i in range(options.streams)]
        for round_number in range(options.rounds):
            bodies = [_body(model, i, options.tokens) for i in range(options.streams)]
            sides = {
                "triton": [
                    lambda p=p, i=i: triton_tokens(client, tensors(p, options.tokens), f"{i}")
                    for i, p in enumerate(prompts)
                ],
                "gateway": [lambda b=b: chat_tokens(session, options.url, b) for b in bodies],
            }
            for name in sorted(sides, reverse=bool(round_number % 2)):
                rates[name].append(await rate(sides[name]))
                print(f"round {round_number} {name:8} {rates[name][-1]:8.1f} tokens/s")
    direct, gateway = (statistics.median(rates[name]) for name in ("triton", "gateway"))
    ratios = [one / other for one, other in zip(rates["gateway"], rates["triton"], strict=True)]
    print(f"median: triton {direct:.1f}, gateway {gateway:.1f}, ratio {gateway / direct:.3f}")
    print(f"median of the rounds' ratios: {statistics.median(ratios):.3f}")


async def _ids(session: aiohttp.ClientSession, url: str, model: str, number: int) -> list[int]:
    """Return the prompt's token ids as the gateway makes them."""
    body = {**_body(model, number, 1), "stream": False, "return_token_ids": True}
    body.pop("stream_options")
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        ids: list[int] = (await response.json())["prompt_token_ids"]
    return ids


def _body(model: str, number: int, max_tokens: int) -> dict[str, object]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": PROMPT.format(number)}],
        "temperature": 0,
        "max_tokens": max_tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def main() -> None:
    """Parse the options and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--triton", default="127.0.0.1:8001")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=4)
    asyncio.run(compare(parser.parse_args()))


if __name__ == "__main__":
    main()
