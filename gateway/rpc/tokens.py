"""TokenizeService: text to tokens and back."""

from typing import Any

from gateway.models import Model, Models
from gateway.openai import schemas
from gateway.openai.tokens import detokenize, tokenize
from gateway.reception import Reception
from gateway.rpc.bodies import detokenize_body, read_message, tokenize_body
from gateway.rpc.exchange import exchange
from gateway.v1.tokenize_pb2 import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)
from gateway.v1.tokenize_pb2_grpc import TokenizeServiceServicer


class TokenizeService(TokenizeServiceServicer):
    """What the gateway would send for a prompt, for callers that count before they send."""

    def __init__(self, models: Models, reception: Reception) -> None:
        self._models = models
        self._reception = reception

    async def Tokenize(self, raw: bytes, context: Any) -> TokenizeResponse:
        async with exchange("Tokenize", TokenizeRequest, context, self._reception):

            def understand(request: TokenizeRequest) -> tuple[schemas.TokenizeRequest, Model]:
                model = self._models.find(request.model)
                return tokenize_body(request), model

            answer = await tokenize(*await read_message(raw, TokenizeRequest, understand))
            return TokenizeResponse(
                token_ids=answer["tokens"], max_model_len=answer["max_model_len"]
            )

    async def Detokenize(self, raw: bytes, context: Any) -> DetokenizeResponse:
        async with exchange("Detokenize", DetokenizeRequest, context, self._reception):

            def understand(request: DetokenizeRequest) -> tuple[schemas.DetokenizeRequest, Model]:
                model = self._models.find(request.model)
                return detokenize_body(request), model

            answer = await detokenize(*await read_message(raw, DetokenizeRequest, understand))
            return DetokenizeResponse(text=answer["prompt"])
