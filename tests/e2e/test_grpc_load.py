"""Many streams at once, most of them left early: nothing of them stays behind."""

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import grpc
import pytest

from gateway.blueprints import load_blueprint
from gateway.client import AsyncClient, CallFailed, conversation, user
from gateway.models import Models
from gateway.settings import Settings, TritonSettings, load_models_file
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.generation_pb2 import Limits
from tests.conftest import Figure
from tests.e2e.conftest import Stack
from tests.engines import probed_for
from tests.rpc import server

STREAMS = 256
CONNECTIONS = 8
LONG, SHORT = 1500, 60
SLOW_S = 0.02


@pytest.fixture
async def address(scripted: Stack) -> AsyncIterator[str]:
    """A gateway in this process, so that its tasks and memory can be seen, on a real Triton."""
    [settings] = load_models_file(scripted.repository / "gateway.yaml").models
    triton = TritonSettings(address=scripted.triton, model=settings.triton.model)
    blueprint = load_blueprint(settings.model_copy(update={"triton": triton}), Settings())
    engine = await probed_for(blueprint)
    async with server(Models([blueprint.model(engine)])) as running:
        yield running.address
    await engine.close()


async def read(rpc: AsyncClient, model: str, number: int, chance: random.Random) -> str:
    """Read one stream: a third to its end, a third until left, a third up to its deadline."""
    kind = ("finished", "left", "late")[number % 3]
    request = ChatCompletionRequest(
        model=model,
        conversation=conversation(user("goes on")),
        limits=Limits(max_tokens=SHORT if kind == "finished" else LONG),
    )
    patience_s = None if kind == "finished" else chance.uniform(0.05, 2)
    stream = rpc.stream_chat(request, timeout_s=patience_s if kind == "late" else None)

    async def to_its_end() -> str:
        async with aclosing(stream):
            async for _ in stream:
                await asyncio.sleep(SLOW_S if number % 10 == 0 else 0)
        return "finished"

    try:
        return await asyncio.wait_for(to_its_end(), patience_s if kind == "left" else None)
    except asyncio.TimeoutError:
        return "left"
    except CallFailed as failed:
        assert failed.code is grpc.StatusCode.DEADLINE_EXCEEDED, failed
        return "late"


async def load(address: str, model: str) -> Counter[str]:
    """Read all streams at once; return how many ended in which way."""
    chance = random.Random(6)
    async with AsyncExitStack() as stack:
        rpcs = [await stack.enter_async_context(AsyncClient(address)) for _ in range(CONNECTIONS)]
        streams = (
            read(rpcs[number % CONNECTIONS], model, number, chance) for number in range(STREAMS)
        )
        return Counter(await asyncio.gather(*streams))


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def running_tasks() -> Counter[str]:
    """Return how many tasks there are of each kind: a server awaits calls in ever new ones."""
    return Counter(task.get_coro().__qualname__ for task in asyncio.all_tasks())  # type: ignore[union-attr]


async def live_generations(stack: Stack) -> float:
    """Return how many generations Triton has, once there are none or after a minute."""
    for _ in range(600):
        live = stack.metric("nv_trt_llm_request_metrics", request_type="active")
        if not live:
            break
        await asyncio.sleep(0.1)
    return live


async def test_nothing_stays_of_256_streams(scripted: Stack, address: str, figure: Figure) -> None:
    await load(address, scripted.model)
    await live_generations(scripted)
    tasks, memory = running_tasks(), resident_bytes()

    ended = await load(address, scripted.model)

    live = await live_generations(scripted)
    growth = resident_bytes() / memory - 1
    left_over = list((running_tasks() - tasks).elements())
    figure(
        f"{STREAMS} gRPC streams, {dict(ended)}: {live:.0f} generations live in Triton, "
        f"{len(left_over)} tasks left, memory {growth:+.1%}"
    )
    assert live == 0
    assert left_over == []
    assert growth < 0.05
    assert min(ended["left"], ended["late"]) >= STREAMS // 4
    assert ended["finished"] >= STREAMS // 3
