"""Calls that a caller says again: whatever the gateway once answered is taken back."""

from typing import Any

import pytest

from gateway.openai.messages import parse_message
from gateway.openai.parts import ChatMessage
from gateway.rpc.bodies import chat_body
from gateway.v1 import chat_pb2, conversation_pb2

ABSENT: dict[str, Any] = {}


@pytest.mark.parametrize("form", ["tool_calls", "function_call"])
@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        pytest.param({"arguments": '{"city": "Oslo"}'}, '{"city": "Oslo"}', id="text"),
        pytest.param({"arguments": '{"city'}, '{"city', id="cut"),
        pytest.param({"arguments": "{'city': None}"}, "{'city': None}", id="python"),
        pytest.param({"arguments": '{"a": "1\n2"}'}, '{"a": "1\n2"}', id="raw-line-break"),
        pytest.param({"arguments": ""}, "", id="empty"),
        pytest.param({"arguments": None}, "", id="null"),
        pytest.param(ABSENT, "", id="absent"),
        pytest.param({"arguments": {"city": "Tromsø"}}, '{"city": "Tromsø"}', id="object"),
        pytest.param({"arguments": {"n": 2**70}}, f'{{"n": {2**70}}}', id="large-number"),
    ],
)
def test_a_call_is_taken_back_over_http(form: str, given: dict[str, Any], arguments: str) -> None:
    function = {"name": "weather", **given}
    told = {"tool_calls": [{"id": "1", "function": function}], "function_call": function}
    body = ChatMessage.model_validate({"role": "assistant", form: told[form]})

    (call,) = parse_message(body, "messages[0]").tool_calls

    assert (call.name, call.arguments) == ("weather", arguments)


@pytest.mark.parametrize("arguments", ["", '{"city', '{"a": "1\n2"}', "{'city': None}"])
def test_a_call_is_taken_back_over_grpc(arguments: str) -> None:
    call = conversation_pb2.ToolCall(id="1", name="weather", arguments=arguments)
    message = conversation_pb2.Message(role=conversation_pb2.ROLE_ASSISTANT, tool_calls=[call])
    conversation = conversation_pb2.Conversation(messages=[message])
    request = chat_pb2.ChatCompletionRequest(model="m", conversation=conversation)

    body = chat_body(request, is_stream=False)

    (taken,) = parse_message(body.messages[0], "messages[0]").tool_calls
    assert taken.arguments == arguments
