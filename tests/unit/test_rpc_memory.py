"""What is left of calls that their callers left, with no garbage collector to help."""

from collections.abc import Callable

import pytest

from gateway.client import conversation, user
from gateway.http2 import frames
from gateway.http2.frames import END_STREAM, ErrorCode
from gateway.http2.messages import prefixed
from gateway.models import Models
from gateway.v1.chat_pb2 import ChatCompletionRequest
from tests.fakes import FakeEngine, text, tiny_model
from tests.grpc_service import until
from tests.http2 import data, request
from tests.rpc import server
from tests.unit.test_http2_limits import live, no_collector, some_turns
from tests.unit.test_http2_serving import Caller, caller

KINDS = ("Call", "ServerStream", "Reply", "Generation", "Answer")
ASKED = ChatCompletionRequest(model="tiny", conversation=conversation(user("Hi")))
Leave = Callable[[Caller], None]


def reset(client: Caller) -> None:
    client.send(frames.rst_stream(1, ErrorCode.CANCEL))


def disconnect(client: Caller) -> None:
    client.writer.transport.abort()


@pytest.mark.parametrize("leave", [reset, disconnect])
@pytest.mark.parametrize("method", ["StreamChatCompletion", "CreateChatCompletion"])
async def test_nothing_stays_of_a_call_that_was_left(method: str, leave: Leave) -> None:
    engine = FakeEngine([text("a")], hangs=True)
    async with server(Models([tiny_model(engine)])) as running:
        with no_collector():
            before = live(*KINDS)
            async with caller(running.address) as client:
                client.send(request(1, (":path", f"/gateway.v1.ChatService/{method}")))
                client.send(data(prefixed(ASKED.SerializeToString()), 1, END_STREAM))
                await until(lambda: len(engine.requests) == 1)
                assert live("Call")["Call"] > before["Call"]

                leave(client)

                await until(lambda: engine.closed == 1)
                engine.requests.clear()
                await some_turns()

                assert live(*KINDS) == before
