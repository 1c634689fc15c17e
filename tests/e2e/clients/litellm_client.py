"""LiteLLM: one call for every provider, pointed at the gateway."""

import asyncio
import json
import sys
from typing import Any

import litellm

BASE_URL, MODEL = sys.argv[1:]
FRANCE: Any = [{"role": "user", "content": "What is the capital of France?"}]
PARIS = "The capital of France is Paris."
WEATHER: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
AT: dict[str, Any] = {"model": f"openai/{MODEL}", "api_base": BASE_URL, "api_key": "none"}

answer: Any = litellm.completion(messages=FRANCE, **AT)
assert answer.choices[0].message.content == PARIS
assert answer.usage.completion_tokens

chunks: Any = litellm.completion(
    messages=FRANCE, stream=True, stream_options={"include_usage": True}, **AT
)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == PARIS

called: Any = litellm.completion(messages=WEATHER, tools=[TOOL], **AT)
assert json.loads(called.choices[0].message.tool_calls[0].function.arguments) == {"city": "Paris"}

waited: Any = asyncio.run(litellm.acompletion(messages=FRANCE, **AT))
assert waited.choices[0].message.content == PARIS

try:
    litellm.completion(messages=FRANCE, **{**AT, "model": "openai/none"})
except litellm.NotFoundError:
    pass
else:
    raise AssertionError("a model that is not there answered")

for too_long in (
    {"messages": [{"role": "user", "content": "on " * 200_000}]},
    {"max_tokens": 10**6},
):
    try:
        litellm.completion(**{"messages": FRANCE, **too_long, **AT})
    except litellm.ContextWindowExceededError:
        pass
    else:
        raise AssertionError("a prompt that is too long was answered")
