"""Clients that know nothing but reflection list and call every method."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from gateway.models import Models
from gateway.rpc.server import SERVICES
from tests.fakes import FakeEngine, stop, text, tiny_model
from tests.rpc import server

pytestmark = pytest.mark.usefixtures("grpc_server")

BUF = Path(sys.executable).with_name("buf")
CHAT = {
    "model": "tiny",
    "conversation": {"messages": [{"role": "ROLE_USER", "content": [{"text": "Hi"}]}]},
}
PROMPT = {"model": "tiny", "prompts": [{"text": "Once"}]}
CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "gateway.v1.ChatService/CreateChatCompletion": (CHAT, "Hello"),
    "gateway.v1.ChatService/StreamChatCompletion": (CHAT, "Hello"),
    "gateway.v1.CompletionService/CreateCompletion": (PROMPT, "Hello"),
    "gateway.v1.CompletionService/StreamCompletion": (PROMPT, "Hello"),
    "gateway.v1.ModelService/ListModels": ({}, "tiny"),
    "gateway.v1.ModelService/GetModel": ({"id": "tiny"}, "tiny"),
    "gateway.v1.TokenizeService/Tokenize": ({"model": "tiny", "text": "Hi"}, "tokenIds"),
    "gateway.v1.TokenizeService/Detokenize": ({"model": "tiny", "tokenIds": [104]}, "text"),
    "grpc.health.v1.Health/Check": ({}, "SERVING"),
}


@pytest.fixture
async def address() -> AsyncIterator[str]:
    models = Models([tiny_model(FakeEngine([text("Hello"), stop()]))])
    async with server(models) as running:
        yield running.address


async def buf_curl(*arguments: str, cache: Path) -> str:
    """Call a server as one who has no stubs and no protos does."""
    process = await asyncio.create_subprocess_exec(
        str(BUF),
        *("curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments),
        env={"BUF_CACHE_DIR": str(cache)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


async def test_every_method_is_listed(address: str, tmp_path: Path) -> None:
    listed = await buf_curl("--list-methods", f"http://{address}", cache=tmp_path)

    assert CALLS.keys() <= set(listed.split())


@pytest.mark.parametrize("method", CALLS)
async def test_a_foreign_client_calls_every_method(
    method: str, address: str, tmp_path: Path
) -> None:
    request, told = CALLS[method]

    said = await buf_curl("-d", json.dumps(request), f"http://{address}/{method}", cache=tmp_path)

    assert told in said


def _calls_through_reflection(address: str) -> dict[str, str]:
    """Call each method of our services with messages made at run time; return the answers."""
    answers = {}
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        for name in database.get_services():
            service = pool.FindServiceByName(name)
            for method in service.methods if name in SERVICES else ():
                path = f"{name}/{method.name}"
                request = json_format.ParseDict(
                    CALLS[path][0], GetMessageClass(method.input_type)()
                )
                response = GetMessageClass(method.output_type)
                kind = channel.unary_stream if method.server_streaming else channel.unary_unary
                call = kind(f"/{path}", response_deserializer=response.FromString)
                answer = call(request.SerializeToString())
                messages = list(answer) if method.server_streaming else [answer]
                answers[path] = " ".join(json_format.MessageToJson(one) for one in messages)
    return answers


async def test_messages_made_from_reflection_reach_every_method(address: str) -> None:
    answers = await asyncio.to_thread(_calls_through_reflection, address)

    assert len(answers) == 8
    assert all(CALLS[path][1] in answer for path, answer in answers.items())
