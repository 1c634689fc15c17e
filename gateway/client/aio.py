"""The client for asyncio: the calls of `sync`, awaited."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
import grpc.aio

from gateway.client.channel import OPTIONS
from gateway.client.errors import told
from gateway.v1.chat_pb2 import ChatCompletion, ChatCompletionEvent, ChatCompletionRequest
from gateway.v1.chat_pb2_grpc import ChatServiceStub
from gateway.v1.completion_pb2 import Completion, CompletionEvent, CompletionRequest
from gateway.v1.completion_pb2_grpc import CompletionServiceStub
from gateway.v1.model_pb2 import GetModelRequest, ListModelsRequest, Model
from gateway.v1.model_pb2_grpc import ModelServiceStub
from gateway.v1.tokenize_pb2 import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from gateway.v1.tokenize_pb2_grpc import TokenizeServiceStub

Metadata = Sequence[tuple[str, str]]


class AsyncClient:
    """A connection to the gateway at `address`, a HOST:PORT.

    `timeout_s` of a call is its deadline all the way to Triton; `metadata` may hold x-request-id
    and traceparent. Every method raises CallFailed.
    """

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        if credentials is None:
            self._channel: Any = grpc.aio.insecure_channel(address, options=OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options=OPTIONS)
        self._chats = ChatServiceStub(self._channel)
        self._completions = CompletionServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)
        self._tokens = TokenizeServiceStub(self._channel)

    async def chat(
        self,
        request: ChatCompletionRequest,
        timeout_s: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletion:
        """Return a chat's next message."""
        answer: ChatCompletion = await self._ask(
            self._chats.CreateChatCompletion, request, timeout_s, metadata
        )
        return answer

    def stream_chat(
        self,
        request: ChatCompletionRequest,
        timeout_s: float | None = None,
        metadata: Metadata = (),
    ) -> AsyncGenerator[ChatCompletionEvent, None]:
        """Yield a chat's next message as it grows. Closing the iterator ends it."""
        return self._follow(self._chats.StreamChatCompletion, request, timeout_s, metadata)

    async def complete(
        self, request: CompletionRequest, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> Completion:
        """Return the continuation of prompts."""
        answer: Completion = await self._ask(
            self._completions.CreateCompletion, request, timeout_s, metadata
        )
        return answer

    def stream_complete(
        self, request: CompletionRequest, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> AsyncGenerator[CompletionEvent, None]:
        """Yield the continuation of prompts as it grows. Closing the iterator ends it."""
        return self._follow(self._completions.StreamCompletion, request, timeout_s, metadata)

    async def models(self, timeout_s: float | None = None) -> list[Model]:
        """Return the models in service."""
        answer = await self._ask(self._models.ListModels, ListModelsRequest(), timeout_s)
        return list(answer.models)

    async def model(self, id: str, timeout_s: float | None = None) -> Model:
        """Return one model, by id or alias."""
        answer: Model = await self._ask(self._models.GetModel, GetModelRequest(id=id), timeout_s)
        return answer

    async def tokenize(
        self, request: TokenizeRequest, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> TokenizeResponse:
        """Return the tokens of a prompt."""
        answer: TokenizeResponse = await self._ask(
            self._tokens.Tokenize, request, timeout_s, metadata
        )
        return answer

    async def detokenize(
        self, request: DetokenizeRequest, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> DetokenizeResponse:
        """Return the text of tokens."""
        answer: DetokenizeResponse = await self._ask(
            self._tokens.Detokenize, request, timeout_s, metadata
        )
        return answer

    async def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _ask(
        self, method: Any, request: Any, timeout_s: float | None, metadata: Metadata = ()
    ) -> Any:
        with told():
            return await method(request, timeout=timeout_s, metadata=metadata)

    async def _follow(
        self, method: Any, request: Any, timeout_s: float | None, metadata: Metadata
    ) -> AsyncGenerator[Any, None]:
        call = method(request, timeout=timeout_s, metadata=metadata)
        try:
            with told():
                async for event in call:
                    yield event
        finally:
            call.cancel()
