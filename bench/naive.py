"""The baseline: the gateway that one would write in an afternoon, with no attention to cost.

FastAPI, sse-starlette, tritonclient.grpc.aio, transformers' tokenizer; one token in, one event out.

    python -m bench.naive --triton HOST:PORT --tokenizer DIR --port N
"""

import argparse
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sse_starlette import EventSourceResponse
from tokenizers.decoders import DecodeStream
from transformers import AutoTokenizer
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient


class Message(BaseModel):
    role: str
    content: str


class StreamOptions(BaseModel):
    include_usage: bool = False


class ChatRequest(BaseModel):
    model: str
    messages: list[Message]
    max_tokens: int = 256
    temperature: float = 1.0
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    ignore_eos: bool = False


def tensors(values: dict[str, Any]) -> list[InferInput]:
    """Return numpy arrays as Triton's inputs."""
    datatypes = {"int32": "INT32", "float32": "FP32", "bool": "BOOL"}
    inputs = []
    for name, array in values.items():
        tensor = InferInput(name, list(array.shape), datatypes[array.dtype.name])
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


def usage(prompt: list[int], completion_tokens: int) -> dict[str, int]:
    """Return the counts of an answer."""
    return {
        "prompt_tokens": len(prompt),
        "completion_tokens": completion_tokens,
        "total_tokens": len(prompt) + completion_tokens,
    }


class Chat:
    """One model: its tokenizer, and the Triton that runs it."""

    def __init__(self, triton: str, tokenizer: str) -> None:
        self._triton = triton
        self._tokenizer = AutoTokenizer.from_pretrained(tokenizer)
        self._client: InferenceServerClient | None = None

    def prompt(self, body: ChatRequest) -> list[int]:
        """Return the token ids of the conversation."""
        messages = [message.model_dump() for message in body.messages]
        ids: list[int] = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        return ids

    async def tokens(
        self, body: ChatRequest, ids: list[int], request_id: str
    ) -> AsyncIterator[list[int]]:
        """Yield the token ids of each response to a prompt."""
        self._client = self._client or InferenceServerClient(self._triton)
        values = {
            "input_ids": np.array([ids], np.int32),
            "input_lengths": np.array([[len(ids)]], np.int32),
            "request_output_len": np.array([[body.max_tokens]], np.int32),
            "temperature": np.array([[body.temperature]], np.float32),
            "streaming": np.array([[body.stream]]),
        }
        if not body.ignore_eos:
            values["end_id"] = np.array([[self._tokenizer.eos_token_id]], np.int32)
        inputs = tensors(values)

        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": "tensorrt_llm", "inputs": inputs, "request_id": request_id}

        async for result, error in self._client.stream_infer(requests()):
            if error:
                raise error
            length = result.as_numpy("sequence_length").flatten()[0]
            yield result.as_numpy("output_ids").flatten()[:length].tolist()

    async def events(self, body: ChatRequest) -> AsyncIterator[str]:
        """Yield the data of each event."""
        request_id = f"chatcmpl-{uuid.uuid4().hex}"
        prompt, completion_tokens = self.prompt(body), 0
        decoder = DecodeStream(skip_special_tokens=True)
        backend = self._tokenizer.backend_tokenizer
        async for ids in self.tokens(body, prompt, request_id):
            completion_tokens += len(ids)
            for token in ids:
                text = decoder.step(backend, token)
                if text:
                    delta = {"role": "assistant", "content": text}
                    choice = {"index": 0, "delta": delta, "finish_reason": None}
                    yield json.dumps(
                        self._object(request_id, body, "chat.completion.chunk", choice)
                    )
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        yield json.dumps(self._object(request_id, body, "chat.completion.chunk", choice))
        if body.stream_options.include_usage:
            chunk = self._object(request_id, body, "chat.completion.chunk")
            yield json.dumps({**chunk, "usage": usage(prompt, completion_tokens)})
        yield "[DONE]"

    async def whole(self, body: ChatRequest) -> dict[str, Any]:
        """Return the answer in one piece."""
        request_id = f"chatcmpl-{uuid.uuid4().hex}"
        prompt = self.prompt(body)
        tokens = [token async for ids in self.tokens(body, prompt, request_id) for token in ids]
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = self._object(request_id, body, "chat.completion", choice)
        return {**answer, "usage": usage(prompt, len(tokens))}

    def _object(
        self, request_id: str, body: ChatRequest, kind: str, *choices: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            "id": request_id,
            "object": kind,
            "created": int(time.time()),
            "model": body.model,
            "choices": choices,
        }


def create_app(triton: str, tokenizer: str) -> FastAPI:
    """Return the gateway."""
    app = FastAPI()
    chat = Chat(triton, tokenizer)

    @app.post("/v1/chat/completions", response_model=None)
    async def completions(body: ChatRequest) -> EventSourceResponse | dict[str, Any]:
        if body.stream:
            return EventSourceResponse(chat.events(body), sep="\n")
        return await chat.whole(body)

    @app.get("/v1/models", response_model=None)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "bench", "object": "model"}]}

    return app


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--triton", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    app = create_app(options.triton, options.tokenizer)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
