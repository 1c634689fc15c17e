"""Streams from a server, whatever it speaks: straight from Triton, OpenAI's HTTP, our gRPC.

    python -m bench.streams --triton 127.0.0.1:8001 --http a=http://127.0.0.1:8080 \
        --grpc b=127.0.0.1:9000 --concurrency 1,32,128 --rounds 3 --json streams.json

All are asked the same way, in turns: prompts of random token ids, answers of a fixed length, all
streams of a level at once. Several processes read them, and what comes is only stamped; tokens are
counted by each answer's own usage, or from Triton by its tensors.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import orjson
from tritonclient.grpc import service_pb2

from bench.vllm_alone import figures
from gateway.v1.completion_pb2 import CompletionEvent, CompletionRequest

Stamped = list[tuple[float, bytes]]
Arrivals = list[tuple[float, int]]


@dataclass(frozen=True)
class Side:
    """A server: what it speaks, where, and the model's name there."""

    name: str
    kind: str
    address: str
    model: str


@dataclass(frozen=True)
class Level:
    """So many streams at once, of prompts and answers of so many tokens."""

    concurrency: int
    prompt_tokens: int
    output_tokens: int
    first_id: int
    last_id: int

    def prompt(self) -> list[int]:
        """Return a prompt that no other request has."""
        return [random.randrange(self.first_id, self.last_id) for _ in range(self.prompt_tokens)]


Ask = Callable[[], AsyncIterator[bytes]]


@asynccontextmanager
async def triton(side: Side, level: Level) -> AsyncIterator[Ask]:
    """Yield what opens a stream of Triton's own messages."""
    async with grpc.aio.insecure_channel(side.address) as channel:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")

        def ask() -> AsyncIterator[bytes]:
            return call(iter([_infer_request(side.model, level)]))  # type: ignore[no-any-return]

        yield ask


def _infer_request(model: str, level: Level) -> bytes:
    values: dict[str, tuple[str, list[int], bytes]] = {
        "input_ids": ("INT32", [1, level.prompt_tokens], _int32(*level.prompt())),
        "input_lengths": ("INT32", [1, 1], _int32(level.prompt_tokens)),
        "request_output_len": ("INT32", [1, 1], _int32(level.output_tokens)),
        "runtime_top_p": ("FP32", [1, 1], bytes.fromhex("0000803f")),
        "seed": ("UINT64", [1, 1], random.randbytes(8)),
        "streaming": ("BOOL", [1, 1], b"\1"),
    }
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, (datatype, shape, raw) in values.items():
        request.inputs.add(name=name, datatype=datatype, shape=shape)
        request.raw_input_contents.append(raw)
    content: bytes = request.SerializeToString()
    return content


def _int32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "little", signed=True) for value in values)


@asynccontextmanager
async def http(side: Side, level: Level) -> AsyncIterator[Ask]:
    """Yield what opens a stream of the events of a completion."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, read_bufsize=1 << 20) as session:

        async def ask() -> AsyncIterator[bytes]:
            body = orjson.dumps(_completion(side.model, level))
            headers = {"Content-Type": "application/json"}
            url = f"{side.address}/v1/completions"
            async with session.post(url, data=body, headers=headers) as response:
                response.raise_for_status()
                async for data in response.content.iter_any():
                    yield data

        yield ask


def _completion(model: str, level: Level) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": level.prompt(),
        "max_tokens": level.output_tokens,
        "temperature": 1.0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@asynccontextmanager
async def rpc(side: Side, level: Level) -> AsyncIterator[Ask]:
    """Yield what opens a stream of the gateway's own gRPC events."""
    async with grpc.aio.insecure_channel(side.address) as channel:
        call = channel.unary_stream("/gateway.v1.CompletionService/StreamCompletion")

        def ask() -> AsyncIterator[bytes]:
            request = CompletionRequest(model=side.model)
            request.prompts.add().token_ids.ids.extend(level.prompt())
            request.limits.max_tokens = level.output_tokens
            request.limits.ignore_eos = True
            request.sampling.temperature = 1.0
            return call(request.SerializeToString())  # type: ignore[no-any-return]

        yield ask


KINDS = {"triton": triton, "http": http, "grpc": rpc}


def arrivals_of(kind: str, stamped: Stamped) -> Arrivals:
    """Return when tokens came, and how many; where only their sum is told, the last bears them."""
    if kind == "triton":
        return [(at, _triton_tokens(data)) for at, data in stamped if _triton_tokens(data)]
    if kind == "grpc":
        last = CompletionEvent.FromString(stamped[-1][1])
        total = last.usage.completion_tokens
        return _spread([at for at, data in stamped if _has_text(data)], total)
    text = b"".join(data for _, data in stamped)
    (usage,) = [
        event["usage"]
        for event in map(orjson.loads, _events(text))
        if event.get("usage") and not event["choices"]
    ]
    times = [at for at, data in stamped for _ in range(data.count(b'"text":'))]
    return _spread(times, usage["completion_tokens"])


def _spread(times: list[float], total: int) -> Arrivals:
    return [*((at, 1) for at in times[:-1]), (times[-1], total - len(times) + 1)]


def _events(text: bytes) -> list[bytes]:
    lines = text.splitlines()
    return [line[6:] for line in lines if line.startswith(b"data: {")]


def _has_text(message: bytes) -> bool:
    return CompletionEvent.FromString(message).WhichOneof("event") == "choice"


def _triton_tokens(message: bytes) -> int:
    response = service_pb2.ModelStreamInferResponse.FromString(message)
    if response.error_message:
        raise RuntimeError(response.error_message)
    names = [output.name for output in response.infer_response.outputs]
    if "sequence_length" not in names:
        return 0
    raw = response.infer_response.raw_output_contents[names.index("sequence_length")]
    return int.from_bytes(raw[:4], "little")


async def read(side: Side, level: Level, count: int, begins_at: float) -> list[Stamped]:
    """Return what so many streams brought, stamped in seconds after they began."""
    async with KINDS[side.kind](side, level) as ask:

        async def one() -> Stamped:
            started, stamped = time.perf_counter(), []
            async for data in ask():
                stamped.append((time.perf_counter() - started, data))
            return stamped

        await asyncio.sleep(max(0.0, begins_at - time.time()))
        return await asyncio.gather(*(one() for _ in range(count)))


def work(side: Side, level: Level, count: int, begins_at: float) -> tuple[list[Arrivals], float]:
    """Return the arrivals of a process's share of streams, and the seconds they took in all."""
    stamped = asyncio.run(read(side, level, count, begins_at))
    seconds = max(answer[-1][0] for answer in stamped)
    return [arrivals_of(side.kind, answer) for answer in stamped], seconds


def measure(pool: Any, side: Side, level: Level, processes: int) -> dict[str, Any]:
    """Return the figures of one level at one side."""
    shares = [level.concurrency // processes] * processes
    shares = [share + (at < level.concurrency % processes) for at, share in enumerate(shares)]
    begins_at = time.time() + 0.5
    jobs = [(side, level, share, begins_at) for share in shares if share]
    found = pool.starmap(work, jobs, chunksize=1)
    answers = [answer for part, _ in found for answer in part]
    told = figures(answers, max(seconds for _, seconds in found))
    expected = level.concurrency * level.output_tokens
    if told["tokens"] != expected:
        raise RuntimeError(f"{side.name}: {told['tokens']} tokens, not {expected}")
    return {"side": side.name, "concurrency": level.concurrency, **told}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the medians of the rounds."""
    for row in medians(rows):
        ttft, itl = row["ttft_ms"], row["itl_ms"]
        print(
            f"{row['side']:>12} {row['concurrency']:4d} streams "
            f"{row['tokens_per_s']:9,.0f} tokens/s"
            f"  first {ttft['p50']:6.1f} / {ttft['p99']:6.1f} ms"
            f"  gap {itl['p50']:5.1f} / {itl['p99']:5.1f} ms"
            f"  {row['tokens'] / row['messages']:.2f} tokens a message",
            flush=True,
        )


def medians(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each side and level: that of the median rate."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["side"], row["concurrency"]), []).append(row)
    found = []
    for group in groups.values():
        middle = statistics.median_low([row["tokens_per_s"] for row in group])
        found.append(next(row for row in group if row["tokens_per_s"] == middle))
    return found


def sides_of(options: argparse.Namespace) -> list[Side]:
    """Return the servers that are named."""
    sides = []
    for kind, default in (("triton", "tensorrt_llm"), ("http", options.model), ("grpc", "")):
        for text in getattr(options, kind):
            name, _, address = text.rpartition("=")
            sides.append(Side(name or kind, kind, address, default or options.model))
    return sides


def main() -> None:
    """Measure every side at every level, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    for kind in KINDS:
        parser.add_argument(f"--{kind}", action="append", default=[], metavar="[NAME=]ADDRESS")
    parser.add_argument("--model", default="llama")
    parser.add_argument("--concurrency", default="1,32,128")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--ids", default="1000,40000", help="Token ids of prompts: from, to.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    first_id, last_id = map(int, options.ids.split(","))
    rows: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for text in options.concurrency.split(","):
            level = Level(
                int(text), options.prompt_tokens, options.output_tokens, first_id, last_id
            )
            for number in range(options.rounds):
                for side in sorted(sides_of(options), key=_name, reverse=bool(number % 2)):
                    rows.append(measure(pool, side, level, options.processes))
    show(rows)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=1))


def _name(side: Side) -> str:
    return side.name


if __name__ == "__main__":
    main()
