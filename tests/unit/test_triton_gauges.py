"""TensorRT-LLM's gauges among Triton's metrics, as its backend writes them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.triton.gauges import MAX_BYTES, Gauges, Iterations, ask_gauges, read_gauges
from gateway.triton.work import KvCache

PAGE = """# HELP nv_trt_llm_kv_cache_block_metrics TRT LLM KV cache block metrics
# TYPE nv_trt_llm_kv_cache_block_metrics gauge
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per",model="m",version="1"} 64
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="m",version="1"} 30
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="m",version="1"} 120
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="other",version="1"} 7
nv_trt_llm_general_metrics{general_type="iteration_counter",model="m",version="1"} 4321
nv_trt_llm_general_metrics{general_type="timestamp",model="m",version="1"} 1700000000
nv_trt_llm_request_metrics{request_type="active",model="m",version="1"} 5
nv_inference_count{model="m",version="1"} 12
"""
TOLD = Gauges(KvCache(max_blocks=120, used_blocks=30, tokens_per_block=64), 5, 4321)


def test_gauges_are_those_of_the_model() -> None:
    assert read_gauges(PAGE, "m") == TOLD
    assert (TOLD.kv.capacity_tokens, TOLD.kv.used) == (7680, 0.25)


def test_what_is_not_told_is_left_out() -> None:
    assert read_gauges("nv_inference_count 3\n", "m") == Gauges(KvCache(), 0, None)


@asynccontextmanager
async def metrics(answer: bytes) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_metrics_are_asked_for_at_the_replicas_host() -> None:
    async with metrics(b"HTTP/1.1 200 OK\r\n\r\n" + PAGE.encode()) as port:
        assert await ask_gauges("127.0.0.1:8001", port, "m") == TOLD


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"#" * (MAX_BYTES + 1),
        b"HTTP/1.1 200 OK\r\n\r\n"
        b'nv_trt_llm_request_metrics{request_type="active",model="m"} many\n',
        b"",
    ],
    ids=["not there", "too long", "no number", "nothing"],
)
async def test_what_is_no_page_of_metrics_is_no_reason_to_fail(answer: bytes) -> None:
    async with metrics(answer) as port:
        with pytest.raises((ValueError, OSError)):
            await ask_gauges("127.0.0.1:8001", port, "m")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([(1, 9), (1, 9), (1, 9), (1, 9)], True),
        ([(1, 9), (1, 9), (1, 10), (1, 10)], False),
        ([(0, 9), (0, 9), (0, 9), (0, 9)], False),
        ([(1, None)] * 4, False),
        ([(0, 9), (0, 9), (1, 9), (1, 9)], False),
    ],
    ids=["stands still", "goes on", "idle", "untold", "has just begun"],
)
def test_an_engine_is_stuck_that_has_work_and_does_not_go_on(
    seen: list[tuple[int, int | None]], expected: bool
) -> None:
    iterations = Iterations()

    told = [
        iterations.is_stuck(Gauges(KvCache(), num_active, iteration), float(now))
        for now, (num_active, iteration) in enumerate(seen, 1)
    ]

    assert told[-1] == expected
