"""The client for threads."""

from collections.abc import Generator, Sequence
from typing import Any

import grpc

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


class Client:
    """A connection to the gateway at `address`, a HOST:PORT.

    `timeout_s` of a call is its deadline all the way to Triton; `metadata` may hold x-request-id
    and traceparent. Every method raises CallFailed.
    """

    def __init__(self, address: str, credentials: grpc.ChannelCredentials | None = None) -> None:
        if credentials is None:
            self._channel: Any = grpc.insecure_channel(address, options=OPTIONS)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=OPTIONS)
        self._chats = ChatServiceStub(self._channel)
        self._completions = CompletionServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)
        self._tokens = TokenizeServiceStub(self._channel)

    def chat(
        self,
        request: ChatCompletionRequest,
        timeout_s: float | None = None,
        metadata: Metadata = (),
    ) -> ChatCompletion:
        """Return a chat's next message."""
        answer: ChatCompletion = self._ask(
            self._chats.CreateChatCompletion, request, timeout_s, metadata
        )
        return answer

    def stream_chat(
        self,
        request: ChatCompletionRequest,
        timeout_s: float | None = None,
        metadata: Metadata = (),
    ) -> Generator[ChatCompletionEvent, None, None]:
        """Yield a chat's next message as it grows. Closing the iterator ends it."""
        return self._follow(self._chats.StreamChatCompletion, request, timeout_s, metadata)

    def complete(
        self, request: CompletionRequest, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> Completion:
        """Return the continuation of prompts."""
        answer: Completion = self._ask(
            self._completions.CreateCompletion, request, timeout_s, metadata
        )
        return answer

    def stream_complete(
        self, request: CompletionRequest, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> Generator[CompletionEvent, None, None]:
        """Yield the continuation of prompts as it grows. Closing the iterator ends it."""
        return self._follow(self._completions.StreamCompletion, request, timeout_s, metadata)

    def models(self, timeout_s: float | None = None) -> list[Model]:
        """Return the models in service."""
        answer = self._ask(self._models.ListModels, ListModelsRequest(), timeout_s)
        return list(answer.models)

    def model(self, id: str, timeout_s: float | None = None) -> Model:
        """Return one model, by id or alias."""
        answer: Model = self._ask(self._models.GetModel, GetModelRequest(id=id), timeout_s)
        return answer

    def tokenize(
        self, request: TokenizeRequest, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> TokenizeResponse:
        """Return the tokens of a prompt."""
        answer: TokenizeResponse = self._ask(self._tokens.Tokenize, request, timeout_s, metadata)
        return answer

    def detokenize(
        self, request: DetokenizeRequest, timeout_s: float | None = None, metadata: Metadata = ()
    ) -> DetokenizeResponse:
        """Return the text of tokens."""
        answer: DetokenizeResponse = self._ask(
            self._tokens.Detokenize, request, timeout_s, metadata
        )
        return answer

    def close(self) -> None:
        """Close the connection; calls that still run are cancelled."""
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(
        self, method: Any, request: Any, timeout_s: float | None, metadata: Metadata = ()
    ) -> Any:
        with told():
            return method(request, timeout=timeout_s, metadata=metadata)

    def _follow(
        self, method: Any, request: Any, timeout_s: float | None, metadata: Metadata
    ) -> Generator[Any, None, None]:
        call = method(request, timeout=timeout_s, metadata=metadata)
        try:
            with told():
                yield from call
        finally:
            call.cancel()
