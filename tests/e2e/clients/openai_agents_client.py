"""OpenAI's agents SDK: an agent with an output type that calls a tool first, whole and streamed."""

import asyncio
import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

BASE_URL, MODEL = sys.argv[1:]
set_tracing_disabled(True)


class Report(BaseModel):
    city: str
    degrees: int


asked: list[str] = []


@function_tool
def get_weather(city: str) -> str:
    """Tell the weather."""
    asked.append(city)
    return f"5 degrees in {city}"


async def main() -> None:
    client = AsyncOpenAI(base_url=BASE_URL, api_key="none")
    model = OpenAIChatCompletionsModel(model=MODEL, openai_client=client)
    agent = Agent(name="reporter", model=model, tools=[get_weather], output_type=Report)

    result = await Runner.run(agent, "Report on Oslo.")
    assert result.final_output == Report(city="Oslo", degrees=5)
    assert asked == ["Oslo"]

    streamed = Runner.run_streamed(agent, "Report on Oslo.")
    async for _ in streamed.stream_events():
        pass
    assert streamed.final_output == Report(city="Oslo", degrees=5)
    assert asked == ["Oslo", "Oslo"]


asyncio.run(main())
