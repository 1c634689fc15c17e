"""Chat over gRPC: `python examples/python/chat.py 127.0.0.1:8081 smollm2-135m-instruct "Hi"`."""

import sys

from gateway.client import CallFailed, Client, conversation, system, user
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.generation_pb2 import Limits, Sampling

address, model, question = sys.argv[1:]
request = ChatCompletionRequest(
    model=model,
    conversation=conversation(system("Answer in one sentence."), user(question)),
    sampling=Sampling(temperature=0),
    limits=Limits(max_tokens=60),
)

with Client(address) as client:
    try:
        for event in client.stream_chat(request, timeout_s=30):
            print(event.content.text, end="", flush=True)
            if event.HasField("finished"):
                print(f"\n{event.usage.completion_tokens} tokens")
    except CallFailed as failed:
        print(f"{failed}\n{failed.reason} {failed.fields}", file=sys.stderr)
        sys.exit(1)
