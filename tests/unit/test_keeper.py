"""What a keeper does for a model, and how it tells what it waits for."""

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from tritonclient.grpc import service_pb2 as pb

from gateway.blueprints import load_blueprint
from gateway.errors import EngineUnavailable
from gateway.generation import Delta, Generation, Prompt
from gateway.keeper import LONGEST_REMINDER_S, Keeper, Reminder, run_keepers, start_keepers
from gateway.models import Models
from gateway.settings import ModelSettings, Settings, TritonSettings
from gateway.triton.contract import ContractMismatch
from tests.fakes import tiny_tokenizer

INPUTS = "input_ids input_lengths request_output_len streaming"

REFUSED, NOT_READY = "Triton cannot be reached.", "Triton says that its model is not ready."


class Changeable(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A Triton with one model: what it publishes can be changed, its streams wait to be let go."""

    def __init__(self) -> None:
        self.max_seq_len, self.inputs = "2048", INPUTS
        self.goes_on = asyncio.Event()

    def service(self, call: Any) -> Any:
        method = call.method.rpartition("/")[2]
        if method == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(self._stream)
        answers: dict[str, Callable[[], Any]] = {
            "ModelConfig": self._config,
            "ModelReady": lambda: pb.ModelReadyResponse(ready=True),
            "ServerMetadata": lambda: pb.ServerMetadataResponse(name="triton", version="1"),
        }

        async def answer(_: bytes, __: Any) -> bytes:
            return bytes(answers[method]().SerializeToString())

        return grpc.unary_unary_rpc_method_handler(answer)

    def _config(self) -> Any:
        response = pb.ModelConfigResponse()
        config = response.config
        config.name, config.max_batch_size = "tensorrt_llm", 8
        config.model_transaction_policy.decoupled = True
        for name in self.inputs.split():
            config.input.add(name=name)
        for name in ("output_ids", "sequence_length"):
            config.output.add(name=name)
        config.parameters["max_seq_len"].string_value = self.max_seq_len
        return response

    async def _stream(self, requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for _ in requests:
            for is_final in (False, True):
                message = pb.ModelStreamInferResponse()
                response = message.infer_response
                response.parameters["triton_final_response"].bool_param = is_final
                response.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1, 1])
                response.outputs.add(name="sequence_length", datatype="INT32", shape=[1, 1])
                response.raw_output_contents.extend([struct.pack("<i", 5), struct.pack("<i", 1)])
                yield message.SerializeToString()
                await self.goes_on.wait()


@pytest.fixture
async def triton() -> AsyncIterator[tuple[Changeable, str]]:
    handler, server = Changeable(), grpc.aio.server()
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield handler, f"127.0.0.1:{port}"
    await server.stop(0)


async def keepers(models: Models, address: str) -> list[Keeper]:
    settings = ModelSettings(
        id="m", tokenizer=tiny_tokenizer(), triton=TritonSettings(address=address)
    )
    return await start_keepers(models, [load_blueprint(settings, Settings())])


async def test_answers_outlive_the_keeper_while_the_gateway_drains(
    triton: tuple[Changeable, str],
) -> None:
    models = Models()
    [keeper] = await keepers(models, triton[1])
    keeping = asyncio.ensure_future(run_keepers([keeper]))
    items = models.find("m").engine.generate(Generation(Prompt((1, 2), "ab"), max_tokens=9))
    assert await anext(items) == Delta(0, [5])

    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    triton[0].goes_on.set()

    assert await anext(items) == Delta(0, [5])
    await items.aclose()
    await keeper.close()


async def test_answers_go_on_by_the_contract_they_began_with(
    triton: tuple[Changeable, str],
) -> None:
    models = Models()
    [keeper] = await keepers(models, triton[1])
    before = models.find("m").engine
    items = before.generate(Generation(Prompt((1, 2), "ab"), max_tokens=9))
    await anext(items)
    triton[0].max_seq_len = "64"

    keeping = asyncio.ensure_future(keeper.run())  # a connection was made: so it reads again
    for _ in range(1000):
        if models.find("m").max_model_len == 64:
            break
        await asyncio.sleep(0.01)
    triton[0].goes_on.set()

    assert (before.max_model_len, models.find("m").max_model_len) == (2048, 64)
    assert await anext(items) == Delta(0, [5])
    await items.aclose()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await keeper.close()


async def test_a_contract_that_does_not_fit_is_refused_at_start(
    triton: tuple[Changeable, str],
) -> None:
    triton[0].inputs = INPUTS.replace("streaming", "")
    models = Models()

    with pytest.raises(ContractMismatch, match="'streaming'"):
        await keepers(models, triton[1])

    with pytest.raises(EngineUnavailable):
        models.find("m")


def said(reminder: Reminder, seconds: int) -> list[int]:
    """Return at which seconds it is said why nothing is served."""
    return [now for now in range(1, seconds + 1) if reminder.is_due(REFUSED, now)]


def test_a_reason_is_told_at_once_and_then_at_intervals_that_grow() -> None:
    assert said(Reminder(), 300) == [1, 6, 16, 36, 76, 136, 196, 256]


def test_a_reason_is_never_forgotten_for_longer_than_the_longest_interval() -> None:
    times = said(Reminder(), 3600)

    assert max(b - a for a, b in itertools.pairwise(times)) == LONGEST_REMINDER_S


def test_reasons_that_alternate_do_not_fill_the_log() -> None:
    reminder = Reminder()

    num_said = sum(
        reminder.is_due(NOT_READY if now % 2 else REFUSED, now) for now in range(1, 3601)
    )

    assert num_said < 70


def test_what_comes_after_it_served_is_news() -> None:
    reminder = Reminder()
    said(reminder, 100)

    reminder.forget()

    assert reminder.is_due(REFUSED, 101)
