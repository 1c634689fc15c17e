"""Our own HTTP/2 client on real servers: yields what grpc.aio does, also when things go wrong."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import get_args

import grpc.aio
import pytest

from build_engine.repository import Repository, RepositorySpec, build
from gateway.embedded.tritonserver import Ports, TritonServer
from gateway.engine import Engine
from gateway.errors import ContextTooLong, EngineFailure, EngineTimeout, EngineUnavailable
from gateway.generation import Delta, Finished, Generation, Item, Prompt, Sampling
from gateway.http2.call import Call
from gateway.http2.pool import Pool
from gateway.http2.status import Code, StatusError
from gateway.prompt.tokenizer import Tokenizer
from gateway.triton.channel import STREAM_METHOD, Channel, TransportName
from gateway.triton.contract import read_contract
from gateway.triton.tensors import encode_request
from tests.e2e.conftest import free_port
from tests.engines import probed, served_with
from tests.integration.inference import Client

SCRIPT = {
    "answers": [
        {"prompt": [1000, 2000, 3000], "answer": [4000, 5000]},
        {"contains": "uneven", "answer": "one two three four five six", "deltas": [3, 2]},
        {"contains": "certain", "answer": "yes", "log_probs": [-0.25], "kv_cache_reused_blocks": 3},
        {"contains": "greet", "answer": "Hello.", "alternatives": ["Hi!", "Good day."]},
        {
            "contains": "fail later",
            "answer": "one two three four",
            "fault": {"kind": "error", "after": 3, "message": "out of luck"},
        },
        {
            "contains": "hang",
            "answer": "one two",
            "fault": {"kind": "stall", "after": 1, "seconds": 600},
        },
        {"contains": "", "answer": "", "end": "limit"},
    ],
    "cost": {"step_s": 0.002},
}


class Server:
    """A tritonserver with the simulated engine, always on the same port."""

    def __init__(self, repository: Repository, folder: Path) -> None:
        self.repository = repository
        self.tokenizer = Tokenizer.load(repository.tokenizer_dir)
        self._log_file = folder / "triton.log"
        self._ports = Ports(grpc=free_port())
        self.start()

    def start(self) -> None:
        self.triton = TritonServer(self.repository.path, log_file=self._log_file, ports=self._ports)
        self.triton.start()
        self.triton.wait_ready(60)

    def kill(self) -> None:
        os.killpg(self.triton.pid, signal.SIGKILL)
        self.triton.stop()

    @asynccontextmanager
    async def engine(
        self, timeout_s: float | None = 30, transport: TransportName = "http2"
    ) -> AsyncIterator[Engine]:
        channel = Channel(self.triton.grpc_address, timeout_s, transport)
        engine = await probed(channel, served_with(self.tokenizer))
        try:
            yield engine
        finally:
            await engine.close()

    def generation(self, text: str, max_tokens: int = 9, **fields: object) -> Generation:
        prompt = Prompt(tuple(self.tokenizer.encode(text)), text)
        return Generation(prompt, max_tokens=max_tokens, **fields)  # type: ignore[arg-type]

    async def soon_has(self, num_requests: int) -> bool:
        """Tell whether the engine soon has so many requests; its gauge lags by 0.1 s."""
        client = Client(self.triton)
        for _ in range(1200):
            if await asyncio.to_thread(client.num_active) == num_requests:
                return True
            await asyncio.sleep(0.05)
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("http2")
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT))
    repository = build(RepositorySpec("simulated", folder / "repository", script=script))
    server = Server(repository, folder)
    yield server
    server.triton.stop()


async def items(engine: Engine, generation: Generation) -> list[Item]:
    async with aclosing(engine.generate(generation)) as found:
        return [item async for item in found]


async def whole(engine: Engine, generation: Generation) -> tuple[dict[int, Delta], Item]:
    """Return all that each sequence gained, however many tokens came together, and the end."""
    *deltas, end = await items(engine, generation)
    gained: dict[int, Delta] = {}
    for delta in deltas:
        assert isinstance(delta, Delta)
        index, held = delta.index, gained.get(delta.index, Delta(delta.index, []))
        token_ids, logprobs = held.token_ids + delta.token_ids, held.logprobs + delta.logprobs
        gained[index] = Delta(index, token_ids, logprobs)
    return gained, end


GENERATIONS = {
    "short": {"text": "Tell me about the sea."},
    "uneven deltas": {"text": "uneven"},
    "not streamed": {"text": "the sea", "streaming": False, "max_tokens": 200},
    "log probs": {"text": "certain", "logprobs": 1},
    "sequences": {"text": "greet", "num_sequences": 3, "sampling": Sampling(seed=3)},
    "a large request": {"text": "the sea", "logit_bias": ((5, 1.5),)},
    "a long answer": {"text": "the sea", "max_tokens": 600},
}


@pytest.mark.parametrize("case", GENERATIONS.values(), ids=GENERATIONS.keys())
async def test_items_are_those_of_grpc(server: Server, case: dict[str, object]) -> None:
    generation = server.generation(**case)  # type: ignore[arg-type]

    async with server.engine() as ours, server.engine(transport="grpc") as theirs:
        assert await whole(ours, generation) == await whole(theirs, generation)


@pytest.mark.parametrize(
    ("text", "max_tokens", "error"),
    [("fail later", 9, EngineFailure), ("word " * 9000, 9, ContextTooLong)],
    ids=["in band", "too long a prompt"],
)
async def test_errors_are_those_of_grpc(
    server: Server, text: str, max_tokens: int, error: type[Exception]
) -> None:
    told = []

    for transport in get_args(TransportName):
        async with server.engine(transport=transport) as engine:
            with pytest.raises(error) as caught:
                await items(engine, server.generation(text, max_tokens))
            told.append(str(caught.value))

    assert told[0] == told[1]


async def test_leaving_a_generation_ends_it_in_triton(server: Server) -> None:
    async with server.engine() as engine:
        async with aclosing(engine.generate(server.generation("hang"))) as found:
            assert isinstance(await anext(found), Delta)
            assert await server.soon_has(1)

        assert await server.soon_has(0)
        gained, _ = await whole(engine, server.generation("the sea"))
        assert len(gained[0].token_ids) == 9


async def test_a_deadline_ends_a_generation_in_triton(server: Server) -> None:
    async with server.engine(timeout_s=0.4) as engine:
        with pytest.raises(EngineTimeout):
            await items(engine, server.generation("hang"))

        assert await server.soon_has(0)


async def test_256_streams_share_one_connection_and_all_arrive(server: Server) -> None:
    channel = Channel(server.triton.grpc_address)
    contract = read_contract(
        await channel.config("tensorrt_llm"), server.tokenizer.vocab_size, None
    )
    await channel.close()
    pool = Pool(server.triton.grpc_address, STREAM_METHOD)

    async def ask(request_id: str) -> int:
        call = Call(pool, timeout_s=60)
        generation = server.generation("the sea", max_tokens=40)
        await call.write(encode_request(generation, contract, request_id))
        await call.done_writing()
        return sum([len(messages) async for messages in call])

    answers = await asyncio.gather(*(ask(str(number)) for number in range(256)))

    assert answers == [40] * 256
    assert pool.num_connections == 1
    await pool.close()


async def test_a_killed_server_is_told_and_found_again_when_it_is_back(server: Server) -> None:
    async with server.engine() as engine:
        found = engine.generate(server.generation("hang"))
        await anext(found)
        await asyncio.to_thread(server.kill)

        with pytest.raises(EngineUnavailable):
            await anext(found)
        with pytest.raises(EngineUnavailable):
            await items(engine, server.generation("the sea"))
        server.start()

        assert isinstance((await found_again(engine, server))[-1], Finished)


async def found_again(engine: Engine, server: Server) -> list[Item]:
    """Return a generation's items once the engine's connection is back: it is tried anew."""
    while True:
        with suppress(EngineUnavailable):
            return await items(engine, server.generation("the sea"))
        await asyncio.sleep(0.05)


async def test_a_server_that_stands_still_hangs_nobody(server: Server) -> None:
    async with server.engine(timeout_s=3) as engine:
        await items(engine, server.generation("the sea"))
        os.killpg(server.triton.pid, signal.SIGSTOP)
        try:
            running = asyncio.create_task(items(engine, server.generation("the sea")))
            many = [server.generation("the sea") for _ in range(40)]
            refused = await asyncio.gather(
                *(items(engine, each) for each in many), return_exceptions=True
            )
            cancelled = asyncio.create_task(items(engine, server.generation("the sea")))
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            with pytest.raises(EngineTimeout):
                await running
        finally:
            os.killpg(server.triton.pid, signal.SIGCONT)

        assert {type(error) for error in refused} == {EngineTimeout}
        gained, _ = await whole(engine, server.generation("the sea"))
        assert len(gained[0].token_ids) == 9
        assert await server.soon_has(0)


async def test_a_server_that_stands_still_from_the_start_hangs_nobody(server: Server) -> None:
    pool = Pool(server.triton.grpc_address, STREAM_METHOD)
    os.killpg(server.triton.pid, signal.SIGSTOP)
    try:
        call = Call(pool, timeout_s=0.5)
        with pytest.raises(StatusError) as caught:
            await call.done_writing()
    finally:
        os.killpg(server.triton.pid, signal.SIGCONT)
    await pool.close()

    assert caught.value.code == Code.DEADLINE_EXCEEDED


async def test_a_slow_reader_slows_no_other_and_fills_no_memory() -> None:
    """One stream of 200 MB that is not read; beside it, calls that are."""
    async with flooding() as address:
        pool = Pool(address, "/test/Flood")
        slow = Call(pool)
        await slow.write(_Bytes(b"flood"))
        await slow.done_writing()
        await slow.__anext__()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        for _ in range(100):
            call = Call(pool, timeout_s=60)
            await call.write(_Bytes(b"one"))
            await call.done_writing()
            assert [len(one) async for messages in call for one in messages] == [10_000]
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        slow.cancel()
        await pool.close()

    assert grown_kib < 8 * 1024


class _Bytes(bytes):
    def SerializeToString(self) -> bytes:
        return bytes(self)


@asynccontextmanager
async def flooding() -> AsyncIterator[str]:
    """Serve one message of 10 kB to `one`, 20,000 of them to anything else."""

    async def flood(requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for request in requests:
            for _i in range(1 if request == b"one" else 20_000):
                yield bytes(10_000)

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(flood)
    handlers = grpc.method_handlers_generic_handler("test", {"Flood": handler})
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
