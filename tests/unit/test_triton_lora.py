"""LoRA adapters: sent once, then by number, again when the engine dropped them; named as models."""

import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from gateway.app import create_app
from gateway.blueprints import load_blueprint
from gateway.engine import Feature
from gateway.errors import EngineFailure
from gateway.generation import Delta, Finished, FinishReason, Generation, Lora, Prompt
from gateway.models import Models
from gateway.settings import LoraSettings, ModelSettings, Settings, SettingsError, load_models_file
from gateway.triton.contract import Contract
from gateway.triton.engine import TritonEngine
from gateway.triton.replica import Replica
from tests.engines import pool
from tests.fakes import FakeEngine, stop, text, tiny_tokenizer
from tests.wire import CheckedTransport

LORA_TENSORS = ["lora_task_id", "lora_weights", "lora_config"]
CONTRACT = Contract(
    model="tensorrt_llm",
    inputs=frozenset({"input_ids", "input_lengths", "request_output_len", *LORA_TENSORS}),
    outputs=frozenset({"output_ids", "sequence_length"}),
    parameters={},
    vocab_size=9,
    max_model_len=100,
)
NOT_HELD = "LoRA task 7 not found in cache. Please send LoRA weights with request"


def adapter(folder: Path) -> Path:
    """Write an adapter of two modules."""
    folder.mkdir(exist_ok=True)
    np.save(folder / "model.lora_weights.npy", np.ones((1, 2, 8), np.float16))
    np.save(folder / "model.lora_config.npy", np.array([[[0, 0, 4], [1, 0, 4]]], np.int32))
    return folder


class ScriptedCall:
    """Takes one request, and answers as the script says: with a token, or with an error."""

    def __init__(self, sent: list[Any], error: str) -> None:
        self._sent = sent
        self._error = error

    async def write(self, request: Any) -> None:
        self._sent.append(request)

    async def done_writing(self) -> None:
        """There is one request."""

    async def peek(self) -> bytes:
        return self._message()

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield [self._message()]

    def _message(self) -> bytes:
        message = pb.ModelStreamInferResponse(error_message=self._error)
        response = message.infer_response
        response.parameters["triton_final_response"].bool_param = True
        response.outputs.add(name="output_ids", datatype="INT32", shape=[1, 1, 1])
        response.outputs.add(name="sequence_length", datatype="INT32", shape=[1, 1])
        response.raw_output_contents.extend([struct.pack("<i", 5), struct.pack("<i", 1)])
        return bytes(message.SerializeToString())

    def cancel(self) -> None:
        """It is over."""


class ScriptedChannel:
    """Answers one call after the other: an error each, empty for none."""

    def __init__(self, *errors: str) -> None:
        self.sent: list[Any] = []
        self._errors = list(errors)

    def timeout_s(self) -> float:
        return 10.0

    def retry_now(self) -> None:
        """There is a connection."""

    def stream(self, deadline: float) -> Any:
        return ScriptedCall(self.sent, self._errors.pop(0))

    @property
    def lora_tensors(self) -> list[list[str]]:
        """The names of the LoRA tensors of every request."""
        return [
            [tensor.name for tensor in request.inputs if tensor.name in LORA_TENSORS]
            for request in self.sent
        ]


async def ask(engine: TritonEngine, folder: Path) -> list[Any]:
    generation = Generation(Prompt((1, 2), "ab"), max_tokens=4, lora=Lora(7, str(folder)))
    return [item async for item in engine.generate(generation)]


def engine_at(channel: Any) -> TritonEngine:
    return TritonEngine(pool([Replica(channel, "tensorrt_llm")], CONTRACT))


async def test_weights_go_once_and_then_the_number_alone(tmp_path: Path) -> None:
    channel = ScriptedChannel("", "")
    engine = engine_at(channel)

    answers = [await ask(engine, adapter(tmp_path)) for _ in range(2)]

    assert answers == [[Delta(0, [5]), Finished((FinishReason.STOP,))]] * 2
    assert channel.lora_tensors == [LORA_TENSORS, ["lora_task_id"]]


async def test_weights_go_again_when_the_engine_dropped_them(tmp_path: Path) -> None:
    channel = ScriptedChannel("", NOT_HELD, "", "")
    engine = engine_at(channel)

    answers = [await ask(engine, adapter(tmp_path)) for _ in range(3)]

    assert answers[0] == answers[1] == answers[2]
    number = ["lora_task_id"]
    assert channel.lora_tensors == [LORA_TENSORS, number, LORA_TENSORS, number]


async def test_weights_that_failed_count_as_not_sent(tmp_path: Path) -> None:
    channel = ScriptedChannel("out of luck", "")
    engine = engine_at(channel)

    with pytest.raises(EngineFailure):
        await ask(engine, adapter(tmp_path))
    await ask(engine, tmp_path)

    assert channel.lora_tensors == [LORA_TENSORS, LORA_TENSORS]


async def test_the_tensors_are_those_of_the_contract(tmp_path: Path) -> None:
    channel = ScriptedChannel("")

    await ask(engine_at(channel), adapter(tmp_path))

    inputs = channel.sent[0].inputs[-3:]
    assert [(t.name, t.datatype, list(t.shape)) for t in inputs] == [
        ("lora_task_id", "UINT64", [1, 1]),
        ("lora_weights", "FP16", [1, 2, 8]),
        ("lora_config", "INT32", [1, 2, 3]),
    ]
    task_id, weights, config = channel.sent[0].raw_input_contents[-3:]
    assert task_id == struct.pack("<Q", 7)
    assert (len(weights), len(config)) == (2 * 8 * 2, 2 * 3 * 4)


async def test_an_engine_that_finds_adapters_is_told_where(tmp_path: Path) -> None:
    channel = ScriptedChannel("", "")
    contract = replace(CONTRACT, inputs=CONTRACT.inputs | {"lora_path"})
    engine = TritonEngine(pool([Replica(channel, "tensorrt_llm")], contract))  # type: ignore[arg-type]

    for _ in range(2):
        await ask(engine, tmp_path)

    for request in channel.sent:
        number, path = request.inputs[-2:]
        assert (number.name, path.name) == ("lora_task_id", "lora_path")
        assert request.raw_input_contents[-1][4:].decode() == str(tmp_path)


def test_an_adapter_in_pefts_format_is_for_the_engine_to_read(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")

    assert load_blueprint(settings_with(tmp_path), Settings())


def settings_with(folder: Path) -> ModelSettings:
    lora = LoraSettings(id="tiny-poet", task_id=7, path=folder)
    return ModelSettings(id="tiny", tokenizer=tiny_tokenizer(), aliases=("alias",), lora=(lora,))


def gateway(engine: FakeEngine, folder: Path) -> httpx.AsyncClient:
    blueprint = load_blueprint(settings_with(adapter(folder)), Settings())
    transport = CheckedTransport(create_app(Settings(), Models(blueprint.models(engine))))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


async def test_an_adapter_is_listed_with_its_parent(tmp_path: Path) -> None:
    async with gateway(FakeEngine(), tmp_path) as http:
        listed = (await http.get("/v1/models")).json()["data"]

    assert [(one["id"], one.get("parent")) for one in listed] == [
        ("tiny", None),
        ("tiny-poet", "tiny"),
    ]


@pytest.mark.parametrize(("model", "task_id"), [("tiny", None), ("alias", None), ("tiny-poet", 7)])
async def test_the_model_named_decides_the_adapter(
    tmp_path: Path, model: str, task_id: int | None
) -> None:
    engine = FakeEngine([text("Hi"), stop()])

    async with gateway(engine, tmp_path) as http:
        answer = await http.post("/v1/completions", json={"model": model, "prompt": "x"})

    lora = engine.requests[0].lora
    assert (lora.task_id if lora else None) == task_id
    assert answer.json()["model"] == ("tiny-poet" if task_id else "tiny")


async def test_an_engine_without_the_tensors_refuses_the_adapter(tmp_path: Path) -> None:
    engine = FakeEngine(features=frozenset(Feature) - {Feature.LORA})

    async with gateway(engine, tmp_path) as http:
        answer = await http.post("/v1/completions", json={"model": "tiny-poet", "prompt": "x"})

    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("model", "unsupported_parameter")


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("model.lora_weights.npy", np.ones((1, 2, 8), np.float32), "float16"),
        ("model.lora_weights.npy", np.ones((1, 3, 8), np.float16), "rows"),
        ("model.lora_config.npy", np.ones((1, 2, 4), np.int32), "rank"),
        ("model.lora_config.npy", np.ones(3, np.int32), "shape"),
    ],
    ids=["dtype", "rows", "columns", "dimensions"],
)
def test_a_broken_adapter_is_found_at_start(
    tmp_path: Path, name: str, array: Any, reason: str
) -> None:
    np.save(adapter(tmp_path) / name, array)

    with pytest.raises(SettingsError, match=reason):
        load_blueprint(settings_with(tmp_path), Settings())


def test_paths_in_the_models_file_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(
        "models: [{id: a, tokenizer: t, lora: [{id: b, task_id: 1, path: adapters/b}]}]"
    )

    assert load_models_file(file).models[0].lora[0].path == tmp_path / "adapters/b"
