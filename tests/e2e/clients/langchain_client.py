"""LangChain: a chat model that answers, streams, calls tools, and returns objects."""

import asyncio
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel, SecretStr

BASE_URL, MODEL = sys.argv[1:]
FRANCE, PARIS = "What is the capital of France?", "The capital of France is Paris."
KEY = SecretStr("none")


class Person(BaseModel):
    """A person."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"21 degrees in {city}"


chat = ChatOpenAI(base_url=BASE_URL, api_key=KEY, model=MODEL, stream_usage=True)
answer = chat.invoke(FRANCE)
assert answer.text == PARIS
assert answer.usage_metadata and answer.usage_metadata["output_tokens"]
assert "".join(chunk.text for chunk in chat.stream(FRANCE)) == PARIS
assert [message.text for message in chat.batch([FRANCE] * 4)] == [PARIS] * 4
assert asyncio.run(chat.ainvoke(FRANCE)).text == PARIS

question = HumanMessage("How is the weather in Paris?")
with_tools = chat.bind_tools([get_weather])
request = with_tools.invoke([question])
assert request.tool_calls[0]["args"] == {"city": "Paris"}
result = get_weather.invoke(request.tool_calls[0])
assert isinstance(result, ToolMessage)
assert with_tools.invoke([question, request, result]).text == "It is 21 degrees in Paris."

for method in ("json_schema", "json_mode"):
    typed = chat.with_structured_output(Person, method=method)
    assert typed.invoke("Extract the person.") == Person(name="Ada", age=36)

assert OpenAI(base_url=BASE_URL, api_key=KEY, model=MODEL).invoke(FRANCE) == PARIS
