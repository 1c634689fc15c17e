"""LlamaIndex: a model like OpenAI's that completes, chats, streams and calls functions."""

import asyncio
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

BASE_URL, MODEL = sys.argv[1:]
FRANCE, PARIS = "What is the capital of France?", "The capital of France is Paris."
MESSAGES = [ChatMessage(role="user", content=FRANCE)]


def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"21 degrees in {city}"


llm = OpenAILike(
    model=MODEL,
    api_base=BASE_URL,
    api_key="none",
    context_window=4096,
    is_chat_model=True,
    is_function_calling_model=True,
)
assert llm.complete(FRANCE).text == PARIS
assert llm.chat(MESSAGES).message.content == PARIS
assert "".join(chunk.delta or "" for chunk in llm.stream_chat(MESSAGES)) == PARIS
assert asyncio.run(llm.achat(MESSAGES)).message.content == PARIS

tool = FunctionTool.from_defaults(fn=get_weather)
result = llm.predict_and_call([tool], "How is the weather in Paris?")
assert str(result) == "21 degrees in Paris"
