"""Several chats at once: `python examples/python/chat_aio.py 127.0.0.1:8081 MODEL "Hi" "Who?"`."""

import asyncio
import sys

from gateway.client import AsyncClient, conversation, user
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.generation_pb2 import Limits


async def answer(client: AsyncClient, model: str, question: str) -> str:
    """Return the answer to one question."""
    request = ChatCompletionRequest(
        model=model,
        conversation=conversation(user(question)),
        limits=Limits(max_tokens=60),
    )
    completion = await client.chat(request, timeout_s=30)
    return completion.choices[0].content


async def main(address: str, model: str, *questions: str) -> None:
    """Ask all questions at once and print the answers in their order."""
    async with AsyncClient(address) as client:
        for text in await asyncio.gather(*(answer(client, model, q) for q in questions)):
            print(text)


asyncio.run(main(*sys.argv[1:]))
