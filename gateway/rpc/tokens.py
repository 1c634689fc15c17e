"""TokenizeService: text to tokens and back."""

from typing import Any

from gateway.models import Models
from gateway.openai.tokens import detokenize, tokenize
from gateway.rpc.bodies import detokenize_body, tokenize_body
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

    def __init__(self, models: Models) -> None:
        self._models = models

    async def Tokenize(self, request: TokenizeRequest, context: Any) -> TokenizeResponse:
        async with exchange("Tokenize", request, context):
            model = self._models.find(request.model)
            answer = await tokenize(tokenize_body(request), model)
            return TokenizeResponse(
                token_ids=answer["tokens"], max_model_len=answer["max_model_len"]
            )

    async def Detokenize(self, request: DetokenizeRequest, context: Any) -> DetokenizeResponse:
        async with exchange("Detokenize", request, context):
            model = self._models.find(request.model)
            answer = await detokenize(detokenize_body(request), model)
            return DetokenizeResponse(text=answer["prompt"])
