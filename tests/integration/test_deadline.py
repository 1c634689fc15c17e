"""A generation that lasts too long ends in Triton as well as here."""

import time
from contextlib import aclosing

import pytest

from build_engine.repository import Repository
from gateway.embedded.tritonserver import TritonServer
from gateway.errors import EngineTimeout
from gateway.generation import Delta, Generation, Prompt
from gateway.prompt.tokenizer import Tokenizer
from gateway.triton.channel import Channel
from tests.engines import probed, served_with
from tests.integration.inference import Client


async def test_a_deadline_cancels_the_generation(
    simulated_server: TritonServer, openvino_repository: Repository
) -> None:
    tokenizer = Tokenizer.load(openvino_repository.tokenizer_dir)
    channel = Channel(simulated_server.grpc_address, timeout_s=2)
    engine = await probed(channel, served_with(tokenizer))
    text = "hang"
    generation = Generation(Prompt(tuple(tokenizer.encode(text)), text), max_tokens=9)

    got = []
    with pytest.raises(EngineTimeout):
        async with aclosing(engine.generate(generation)) as items:
            async for item in items:
                got.append(item)

    assert [type(item) for item in got] == [Delta]
    assert await_idle(Client(simulated_server))
    await engine.close()


def await_idle(client: Client) -> bool:
    """Tell whether the engine soon has no request left."""
    deadline = time.monotonic() + 60
    while client.num_active() and time.monotonic() < deadline:
        time.sleep(0.05)
    return client.num_active() == 0
