"""OpenAI's own client for Python: plain, streamed, typed, asynchronous, and its typed errors."""

import asyncio
import json
import sys
from typing import Any

import openai
from pydantic import BaseModel

BASE_URL, MODEL = sys.argv[1:]
FRANCE: Any = [{"role": "user", "content": "What is the capital of France?"}]
PARIS = "The capital of France is Paris."
PERSON: Any = [{"role": "user", "content": "Extract the person."}]
WEATHER: Any = [{"role": "user", "content": "How is the weather in Paris?"}]


class Person(BaseModel):
    name: str
    age: int


class GetWeather(BaseModel):
    """Tell the weather."""

    city: str


def check(client: openai.OpenAI) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).owned_by

    answer = client.chat.completions.create(model=MODEL, messages=FRANCE, top_p=0.9, user="me")
    assert answer.choices[0].message.content == PARIS
    assert answer.usage and answer.usage.completion_tokens

    chunks = client.chat.completions.create(
        model=MODEL, messages=FRANCE, stream=True, stream_options={"include_usage": True}
    )
    *texts, last = list(chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in texts) == PARIS
    assert last.usage == answer.usage

    text = client.completions.create(model=MODEL, prompt="What is the capital of France?")
    assert text.choices[0].text == PARIS


def check_helpers(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model=MODEL, messages=FRANCE) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
    assert "".join(deltas) == PARIS
    assert stream.get_final_completion().choices[0].message.content == PARIS

    parsed = client.chat.completions.parse(model=MODEL, messages=PERSON, response_format=Person)
    assert parsed.choices[0].message.parsed == Person(name="Ada", age=36)

    with client.chat.completions.stream(
        model=MODEL, messages=PERSON, response_format=Person
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Person(name="Ada", age=36)


def check_tools(client: openai.OpenAI) -> None:
    tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    first = client.chat.completions.parse(model=MODEL, messages=WEATHER, tools=[tool])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls" and message.tool_calls
    call = message.tool_calls[0]
    assert call.function.parsed_arguments == GetWeather(city="Paris")

    result = {"role": "tool", "tool_call_id": call.id, "content": "21 degrees in Paris"}
    told: Any = [*WEATHER, message.model_dump(exclude_none=True), result]
    second = client.chat.completions.create(model=MODEL, messages=told, tools=[tool])
    assert second.choices[0].message.content == "It is 21 degrees in Paris."

    with client.chat.completions.stream(model=MODEL, messages=WEATHER, tools=[tool]) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed and json.loads(streamed[0].function.arguments) == {"city": "Paris"}


def check_errors(client: openai.OpenAI) -> None:
    try:
        client.chat.completions.create(model="none", messages=FRANCE)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found" and error.param == "model" and error.request_id
    else:
        raise AssertionError("a model that is not there answered")
    try:
        client.chat.completions.create(model=MODEL, messages=FRANCE, temperature=3)
    except openai.BadRequestError as error:
        assert error.param == "temperature"
    else:
        raise AssertionError("a temperature out of range was taken")


async def check_async() -> None:
    async with openai.AsyncOpenAI(base_url=BASE_URL, api_key="none") as client:
        answers = await asyncio.gather(
            *(client.chat.completions.create(model=MODEL, messages=FRANCE) for _ in range(8))
        )
        assert {answer.choices[0].message.content for answer in answers} == {PARIS}
        async with client.chat.completions.stream(model=MODEL, messages=FRANCE) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == PARIS


with openai.OpenAI(base_url=BASE_URL, api_key="none", max_retries=0) as sync_client:
    check(sync_client)
    check_helpers(sync_client)
    check_tools(sync_client)
    check_errors(sync_client)
asyncio.run(check_async())
