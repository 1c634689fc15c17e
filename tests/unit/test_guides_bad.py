"""A guide that no engine could follow is refused by name, over both wires, and goes no further."""

from typing import Any, cast

import pytest
from google.protobuf.descriptor import Descriptor

from gateway.client.errors import CallFailed
from gateway.rpc.paths import field_path
from gateway.v1.chat_pb2 import ChatCompletionRequest
from tests.bad_guides import BAD_GUIDES, BadGuide
from tests.fakes import FakeEngine
from tests.rpc import chat_request
from tests.rpc import client as rpc_client
from tests.wire import client


def body(guide: BadGuide) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], **guide.fields}


async def test_every_bad_guide_is_400_over_http_with_the_name_of_its_parameter() -> None:
    engine = FakeEngine()
    told = {}

    async with client(engine) as http:
        for guide in BAD_GUIDES:
            response = await http.post("/v1/chat/completions", json=body(guide))
            told[guide.name] = (response.status_code, response.json()["error"]["param"])

    assert told == {guide.name: (400, guide.param) for guide in BAD_GUIDES}
    assert engine.requests == []


async def test_every_bad_guide_is_invalid_over_grpc_with_the_path_of_its_field() -> None:
    engine = FakeEngine()
    typed = [guide for guide in BAD_GUIDES if guide.is_typed]
    told = {}

    async with rpc_client(engine) as rpc:
        for guide in typed:
            with pytest.raises(CallFailed) as refusal:
                await rpc.chat(chat_request(body(guide)))
            told[guide.name] = refusal.value
    request = cast(Descriptor, ChatCompletionRequest.DESCRIPTOR)

    assert len(typed) >= 30
    assert {name: list(error.fields) for name, error in told.items()} == {
        guide.name: [field_path(guide.param, request)] for guide in typed
    }
    assert engine.requests == []
