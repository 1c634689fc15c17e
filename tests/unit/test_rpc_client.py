"""The client for threads, against a server in a thread of its own."""

import asyncio
import threading
from collections.abc import Iterator

import grpc
import pytest

from gateway.client import (
    CallFailed,
    Client,
    assistant,
    conversation,
    function,
    system,
    text_prompts,
    tool_result,
    user,
)
from gateway.models import Models
from gateway.settings import Settings
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.completion_pb2 import CompletionRequest
from gateway.v1.conversation_pb2 import ROLE_TOOL, ToolCall
from gateway.v1.tokenize_pb2 import DetokenizeRequest, TokenizeRequest
from tests.fakes import FakeEngine, stop, text, tiny_model
from tests.rpc import server

HELLO = ChatCompletionRequest(model="tiny", conversation=conversation(system("Hm."), user("Hi")))
PROMPT = CompletionRequest(model="tiny", prompts=text_prompts("Once"))


@pytest.fixture(scope="module", params=["http2", "grpc"])
def rpc(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of a server that always says Hello."""
    started, ended = threading.Event(), threading.Event()
    address = []

    async def serve() -> None:
        models = Models([tiny_model(FakeEngine([text("Hel"), text("lo"), stop()]))])
        async with server(models, Settings(grpc_server=request.param)) as running:
            address.append(running.address)
            started.set()
            await asyncio.get_running_loop().run_in_executor(None, ended.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(10)
    with Client(address[0]) as client:
        yield client
    ended.set()
    thread.join()


def test_answers_come_whole(rpc: Client) -> None:
    assert rpc.chat(HELLO, timeout_s=5).choices[0].content == "Hello"
    assert rpc.complete(PROMPT, timeout_s=5).choices[0].text == "Hello"


def test_answers_come_as_they_grow(rpc: Client) -> None:
    assert [event.content.text for event in rpc.stream_chat(HELLO)][1:3] == ["Hel", "lo"]
    assert [event.choice.text for event in rpc.stream_complete(PROMPT)][1:3] == ["Hel", "lo"]


def test_models_and_tokens_are_told(rpc: Client) -> None:
    tokens = rpc.tokenize(TokenizeRequest(model="tiny", text="Hi")).token_ids
    back = rpc.detokenize(DetokenizeRequest(model="tiny", token_ids=list(tokens)))

    assert [model.id for model in rpc.models()] == [rpc.model("tiny-alias").id] == ["tiny"]
    assert back.text == "Hi"


def test_a_failure_tells_why(rpc: Client) -> None:
    with pytest.raises(CallFailed, match="NOT_FOUND: ") as failed:
        rpc.chat(ChatCompletionRequest(model="no"))

    assert (failed.value.reason, list(failed.value.fields)) == ("MODEL_NOT_FOUND", ["model"])
    assert failed.value.request_id


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with Client("127.0.0.1:1") as nobody, pytest.raises(CallFailed) as failed:
        nobody.models(timeout_s=5)

    assert failed.value.code is grpc.StatusCode.UNAVAILABLE
    assert (failed.value.reason, failed.value.retry_after_s) == ("", None)


def test_turns_and_tools_are_written_shortly() -> None:
    call = ToolCall(id="c1", name="f", arguments="{}")
    told = conversation(
        user("Hi"),
        assistant(tool_calls=[call]),
        tool_result(call, "2"),
        assistant("Two."),
        tools=[function("f", "counts", {"type": "object"})],
    )

    assert told.messages[1].tool_calls[0] == call and not told.messages[1].content
    assert (told.messages[2].role, told.messages[2].tool_call_id) == (ROLE_TOOL, "c1")
    assert told.messages[3].content[0].text == "Two."
    assert told.tools[0].function.parameters == '{"type": "object"}'
