"""pydantic-ai: an agent that answers, streams, runs a tool, and returns an object."""

import asyncio
import sys

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

BASE_URL, MODEL = sys.argv[1:]
FRANCE, PARIS = "What is the capital of France?", "The capital of France is Paris."
model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=BASE_URL, api_key="none"))


class Person(BaseModel):
    name: str
    age: int


class Report(BaseModel):
    city: str
    degrees: int


agent = Agent(model)
reporter = Agent(model, output_type=NativeOutput(Report))


@agent.tool_plain
def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"21 degrees in {city}"


@reporter.tool_plain(name="get_weather")
def get_weather_to_report(city: str) -> str:
    """Tell the weather."""
    return f"5 degrees in {city}"


async def main() -> None:
    answer = await agent.run(FRANCE)
    assert answer.output == PARIS
    assert answer.usage.output_tokens

    async with agent.run_stream(FRANCE) as stream:
        assert await stream.get_output() == PARIS

    weather = await agent.run("How is the weather in Paris?")
    assert weather.output == "It is 21 degrees in Paris."

    person = await Agent(model, output_type=NativeOutput(Person)).run("Extract the person.")
    assert person.output == Person(name="Ada", age=36)

    report = await reporter.run("Report on Oslo.")
    assert report.output == Report(city="Oslo", degrees=5)


asyncio.run(main())
