"""The gRPC server in process, its engine by script: what callers get, and what they can rely on."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from gateway.client import AsyncClient, CallFailed, conversation, text_prompts, user
from gateway.errors import EngineFailure, EngineUnavailable, GatewayError, Overloaded
from gateway.generation import Generation, Item
from gateway.models import Models
from gateway.origin import Origin, origin
from gateway.settings import Settings
from gateway.v1.chat_pb2 import ChatCompletionEvent, ChatCompletionRequest
from gateway.v1.completion_pb2 import CompletionEvent, CompletionRequest
from gateway.v1.generation_pb2 import (
    FINISH_REASON_LENGTH,
    FINISH_REASON_STOP,
    FINISH_REASON_TOOL_CALLS,
    Limits,
    Output,
    Sampling,
)
from gateway.v1.tokenize_pb2 import DetokenizeRequest, TokenizeRequest
from tests.fakes import FakeEngine, length, stop, text, tiny_model
from tests.rpc import chat_request, client, server

pytestmark = pytest.mark.usefixtures("grpc_server")

HELLO = ChatCompletionRequest(model="tiny", conversation=conversation(user("Hi")))
PROMPT = CompletionRequest(model="tiny", prompts=text_prompts("Once"))
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


async def events(engine: FakeEngine, request: ChatCompletionRequest) -> list[ChatCompletionEvent]:
    async with client(engine) as rpc:
        return [event async for event in rpc.stream_chat(request)]


def kinds(stream: list[Any]) -> list[str | None]:
    return [event.WhichOneof("event") for event in stream]


async def failure(engine: FakeEngine, request: ChatCompletionRequest = HELLO) -> CallFailed:
    async with client(engine) as rpc:
        with pytest.raises(CallFailed) as failed:
            await rpc.chat(request)
    return failed.value


async def test_a_chat_is_answered_whole() -> None:
    async with client(FakeEngine([text("Hel"), text("lo"), stop(cached_tokens=3)])) as rpc:
        answer = await rpc.chat(HELLO)

    [choice] = answer.choices
    assert (choice.content, choice.finish_reason) == ("Hello", FINISH_REASON_STOP)
    assert answer.id.startswith("chatcmpl-")
    assert (answer.usage.completion_tokens, answer.usage.cached_tokens) == (5, 3)


async def test_a_chat_is_streamed_as_events() -> None:
    stream = await events(FakeEngine([text("Hel"), text("lo"), length()]), HELLO)

    assert kinds(stream) == ["started", "content", "content", "choice_finished", "finished"]
    assert "".join(event.content.text for event in stream) == "Hello"
    assert stream[3].choice_finished.reason == FINISH_REASON_LENGTH
    assert [event.HasField("usage") for event in stream] == [False] * 4 + [True]
    assert stream[-1].usage.completion_tokens == 5


async def test_the_usage_so_far_comes_with_every_event_where_asked_for() -> None:
    request = ChatCompletionRequest(output=Output(continuous_usage=True))
    request.MergeFrom(HELLO)

    stream = await events(FakeEngine([text("ab"), text("c"), stop()]), request)

    assert [event.usage.completion_tokens for event in stream][1:] == [2, 3, 3, 3]


async def test_tool_calls_are_streamed_piece_by_piece() -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL]}
    script: list[Item | GatewayError] = [
        text('{"name": "f", "par'),
        text('ameters": {"a": '),
        text("1}}"),
        stop(),
    ]

    stream = await events(FakeEngine(script), chat_request(body))

    started = next(event.tool_call for event in stream if event.HasField("tool_call"))
    assert (started.name, started.position) == ("f", 0)
    assert "".join(event.tool_call_arguments.arguments for event in stream) == '{"a": 1}'
    assert stream[-2].choice_finished.reason == FINISH_REASON_TOOL_CALLS


async def test_a_completion_is_answered_whole_and_streamed() -> None:
    async with client(FakeEngine([text("a"), text("b"), stop()])) as rpc:
        answer = await rpc.complete(PROMPT)
        stream: list[CompletionEvent] = [event async for event in rpc.stream_complete(PROMPT)]

    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("ab", FINISH_REASON_STOP)
    assert kinds(stream)[0] == "started" and kinds(stream)[-1] == "finished"
    assert "".join(event.choice.text for event in stream) == "ab"
    assert stream[-1].usage == answer.usage


async def test_models_are_listed_and_found_by_alias() -> None:
    async with client(FakeEngine()) as rpc:
        listed, found = await rpc.models(), await rpc.model("tiny-alias")

    assert [model.id for model in listed] == ["tiny"]
    assert (found.id, found.max_model_len) == ("tiny", 1000)


async def test_text_goes_to_tokens_and_back() -> None:
    async with client(FakeEngine()) as rpc:
        tokens = await rpc.tokenize(TokenizeRequest(model="tiny", text="Hi"))
        back = await rpc.detokenize(
            DetokenizeRequest(model="tiny", token_ids=list(tokens.token_ids))
        )

    assert (back.text, tokens.max_model_len) == ("Hi", 1000)


async def test_a_wrong_parameter_is_told_by_its_path() -> None:
    request = ChatCompletionRequest(sampling=Sampling(temperature=3))
    request.MergeFrom(HELLO)

    error = await failure(FakeEngine(), request)

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_VALUE")
    assert list(error.fields) == ["sampling.temperature"]


async def test_an_unknown_model_is_not_found() -> None:
    error = await failure(FakeEngine(), ChatCompletionRequest(model="no"))

    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_a_full_engine_tells_when_to_come_back() -> None:
    error = await failure(FakeEngine([Overloaded("Full.", retry_after_s=2)]))

    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.retry_after_s == 2


async def test_an_error_in_the_middle_of_a_stream_ends_it() -> None:
    got = []
    async with client(FakeEngine([text("a"), EngineFailure("It broke.")])) as rpc:
        with pytest.raises(CallFailed) as failed:
            async for event in rpc.stream_chat(HELLO):
                got.append(event)

    assert kinds(got) == ["started", "content"]
    assert (failed.value.code, failed.value.reason) == (
        grpc.StatusCode.INTERNAL,
        "ENGINE_FAILURE",
    )


@dataclass
class Broken(FakeEngine):
    """Raises what nobody expected."""

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        raise ZeroDivisionError("secret")
        yield


async def test_a_bug_is_an_internal_error_that_tells_nothing() -> None:
    error = await failure(Broken())

    assert (error.code, error.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL_ERROR")
    assert "secret" not in error.message


async def test_the_clients_own_policy_tries_an_unavailable_engine_again() -> None:
    engine = FakeEngine([EngineUnavailable("Not yet.")])

    error = await failure(engine)

    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert len(engine.requests) == 3


@dataclass
class Noting(FakeEngine):
    """Notes the origin of what it is asked."""

    seen: Origin = field(default_factory=Origin)

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        self.seen = origin.get()
        async with contextlib.aclosing(super().generate(generation)) as items:
            async for item in items:
                yield item


async def test_ids_and_trace_context_go_to_the_engine_and_the_id_comes_back() -> None:
    engine = Noting([text("a"), stop()])
    trace = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    async with (
        server(Models([tiny_model(engine)])) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        call = channel.unary_stream("/gateway.v1.ChatService/StreamChatCompletion")(
            HELLO.SerializeToString(), metadata=(("x-request-id", "mine"), trace)
        )
        assert [event async for event in call]
        initial, trailing = await call.initial_metadata(), await call.trailing_metadata()

    assert engine.seen.metadata == (("x-request-id", "mine"), trace)
    assert initial["x-request-id"] == trailing["x-request-id"] == "mine"


async def test_a_refused_call_has_an_id_as_well() -> None:
    async with client(FakeEngine()) as rpc:
        with pytest.raises(CallFailed) as failed:
            await rpc.chat(ChatCompletionRequest(), metadata=(("x-request-id", "mine"),))

    assert failed.value.request_id == "mine"


async def test_the_calls_deadline_is_that_of_all_that_is_asked_for_it() -> None:
    engine = Noting([text("a"), stop()])
    async with client(engine) as rpc:
        await rpc.chat(HELLO, timeout_s=20)

    left = engine.seen.timeout_s(600)
    assert left is not None and 15 < left < 21


@dataclass
class Hanging(FakeEngine):
    """Says one letter, and tells when it is left."""

    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        try:
            yield text("a")
            await asyncio.Event().wait()
        finally:
            self.left.set()


async def test_a_deadline_that_passes_ends_the_generation() -> None:
    engine = Hanging()
    async with client(engine) as rpc:
        with pytest.raises(CallFailed) as failed:
            await rpc.chat(HELLO, timeout_s=0.3)
        await asyncio.wait_for(engine.left.wait(), 5)

    assert failed.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_leaves_ends_the_generation() -> None:
    engine = Hanging()
    async with client(engine) as rpc:
        async with contextlib.aclosing(rpc.stream_chat(HELLO)) as stream:
            await anext(stream)
        await asyncio.wait_for(engine.left.wait(), 5)


@dataclass
class Endless(FakeEngine):
    """Never stops on its own; counts what was taken from it."""

    taken: int = 0

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        while True:
            self.taken += 1
            yield text("x" * 1000)


async def test_a_slow_reader_slows_its_own_stream_only() -> None:
    engine = Endless()
    async with client(engine) as rpc, contextlib.aclosing(rpc.stream_chat(HELLO)) as stream:
        await anext(stream)
        await until_still(rpc, engine)

    assert engine.taken < 50_000, "what the connection's windows hold, and no more"


async def until_still(rpc: AsyncClient, engine: Endless) -> None:
    """Return once nothing is taken during many other calls on the same connection."""
    still = 0
    while still < 50:
        before = engine.taken
        assert await rpc.models()
        still = still + 1 if engine.taken == before else 0


async def test_a_request_above_the_limit_is_refused() -> None:
    settings = Settings(max_body_bytes=1000)
    async with client(FakeEngine(), settings) as rpc:
        with pytest.raises(CallFailed) as failed:
            await rpc.tokenize(TokenizeRequest(model="tiny", text="x" * 2000))

    assert failed.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_parameter_out_of_reach_is_refused_by_its_own_name() -> None:
    request = CompletionRequest(limits=Limits(max_tokens=5000))
    request.MergeFrom(PROMPT)
    async with client(FakeEngine()) as rpc:
        with pytest.raises(CallFailed) as failed:
            await rpc.complete(request)

    assert list(failed.value.fields) == ["prompts"]


async def check(channel: grpc.aio.Channel, service: str = "") -> int:
    answer = await HealthStub(channel).Check(HealthCheckRequest(service=service))
    return int(answer.status)


async def test_health_follows_the_models_and_then_the_drain() -> None:
    models = Models()
    models.expect(["tiny"], "it is not there yet")
    async with server(models) as running, grpc.aio.insecure_channel(running.address) as channel:
        watch = HealthStub(channel).Watch(HealthCheckRequest(service="gateway.v1.ChatService"))
        first = await anext(aiter(watch))
        assert await check(channel) == HealthCheckResponse.NOT_SERVING

        models.add(tiny_model(FakeEngine()))
        second = await anext(aiter(watch))
        assert await check(channel, "gateway.v1.ModelService") == HealthCheckResponse.SERVING

        stopping = asyncio.ensure_future(running.stop(5))
        third = await anext(aiter(watch))
        await asyncio.wait_for(stopping, 2)

    statuses = [answer.status for answer in (first, second, third)]
    assert statuses == [
        HealthCheckResponse.NOT_SERVING,
        HealthCheckResponse.SERVING,
        HealthCheckResponse.NOT_SERVING,
    ]


async def test_one_watcher_leaving_does_not_blind_another() -> None:
    models = Models()
    models.expect(["tiny"], "it is not there yet")
    async with server(models) as running, grpc.aio.insecure_channel(running.address) as channel:
        watches = [HealthStub(channel).Watch(HealthCheckRequest()) for _ in range(2)]
        for watch in watches:
            await anext(aiter(watch))
        watches[0].cancel()
        models.add(tiny_model(FakeEngine()))
        answer = await asyncio.wait_for(anext(aiter(watches[1])), 2)

    assert answer.status == HealthCheckResponse.SERVING


async def test_the_health_of_a_service_nobody_knows() -> None:
    async with server(Models()) as running, grpc.aio.insecure_channel(running.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await check(channel, "nobody.Knows")
        watch = HealthStub(channel).Watch(HealthCheckRequest(service="nobody.Knows"))
        answer = await anext(aiter(watch))

    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    assert answer.status == HealthCheckResponse.SERVICE_UNKNOWN


@dataclass
class Held(FakeEngine):
    """Keeps all but the first item until it is let go."""

    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        async with contextlib.aclosing(super().generate(generation)) as items:
            yield await anext(items)
            await self.go.wait()
            async for item in items:
                yield item


async def test_a_drain_lets_running_streams_finish_and_takes_no_new_ones() -> None:
    engine = Held([text("a"), text("b"), text("c"), stop()])
    async with (
        server(Models([tiny_model(engine)])) as running,
        AsyncClient(running.address) as rpc,
        AsyncClient(running.address) as late,
    ):
        stream = rpc.stream_chat(HELLO)
        got = [await anext(stream)]
        stopping = asyncio.ensure_future(running.stop(60))
        await until_closed(running.address)
        with pytest.raises(CallFailed) as refused:
            await late.chat(HELLO, timeout_s=0.3)
        engine.go.set()
        got += [event async for event in stream]
        await stopping

    assert kinds(got)[-1] == "finished"
    assert refused.value.code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )


async def until_closed(address: str) -> None:
    """Return once nobody listens at an address any more."""
    with contextlib.suppress(ConnectionRefusedError):
        while True:
            _, writer = await asyncio.open_connection(*address.rsplit(":", 1))
            writer.close()
            await asyncio.sleep(0.01)


async def test_a_drain_cuts_off_what_outlasts_it() -> None:
    engine = FakeEngine([text("a")], hangs=True)
    async with (
        server(Models([tiny_model(engine)])) as running,
        AsyncClient(running.address) as rpc,
    ):
        stream = rpc.stream_chat(HELLO)
        await anext(stream)
        await running.stop(0.2)
        with pytest.raises(CallFailed):
            assert [event async for event in stream]

    assert engine.closed == 1
