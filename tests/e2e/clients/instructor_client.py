"""instructor: objects out of answers, as a JSON schema and as a forced tool call, and streamed."""

import sys

import instructor
import openai
from pydantic import BaseModel

BASE_URL, MODEL = sys.argv[1:]
ADA = {"name": "Ada", "age": 36}


class Person(BaseModel):
    name: str
    age: int


def ask(mode: instructor.Mode, content: str) -> Person:
    raw = openai.OpenAI(base_url=BASE_URL, api_key="none", max_retries=0)
    client = instructor.from_openai(raw, mode=mode)
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(model=MODEL, response_model=Person, messages=messages)


assert ask(instructor.Mode.JSON_SCHEMA, "Extract the person.").model_dump() == ADA
assert ask(instructor.Mode.JSON, "Extract the person.").model_dump() == ADA
assert ask(instructor.Mode.TOOLS, "Call for the person.").model_dump() == ADA
