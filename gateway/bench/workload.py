"""What is asked: questions from a file, or prompts of a given length. Sends nothing."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gateway.bench.errors import BenchError

QUESTIONS = Path(__file__).with_name("questions.jsonl")

# One token each in the vocabularies of Llama, GPT and most others.
_COMMON_WORDS = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work government "
    "number night point home water room mother area money story fact month lot right study book "
    "eye job word business issue side kind head house service friend father power hour game line"
)


@dataclass(frozen=True)
class Workload:
    """The requests of a benchmark: `prompt(i)` is what number i asks, `extra` is in all of them."""

    prompt: Callable[[int], str]
    max_tokens: int
    extra: dict[str, Any] = field(default_factory=dict)

    def body(self, model: str, number: int) -> bytes:
        """Return a request for a streamed chat."""
        return self._body(model, self.prompt(number), self.max_tokens)

    def probe(self, model: str, prompt: str = "Hi") -> bytes:
        """Return a request that asks for a single token."""
        return self._body(model, prompt, 1)

    def _body(self, model: str, prompt: str, max_tokens: int) -> bytes:
        return orjson.dumps(
            {
                "model": model,
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": max_tokens,
                "stream": True,
                "stream_options": {"include_usage": True},
                **self.extra,
            }
        )


def read_prompts(path: Path) -> Callable[[int], str]:
    """Return the prompts of a file of JSON lines, `{"prompt": "..."}`, from the first again."""
    prompts = [_prompt(path, number, line) for number, line in _lines(path)]
    if not prompts:
        raise BenchError(f'{path} has no prompts: a line of it is {{"prompt": "..."}}')
    return lambda number: prompts[number % len(prompts)]


def words(count: int, seed: int) -> Callable[[int], str]:
    """Return prompts of so many common words, another for every number and every seed."""

    def prompt(number: int) -> str:
        return " ".join(random.Random(f"{seed}/{number}").choices(_COMMON_WORDS.split(), k=count))

    return prompt


def _lines(path: Path) -> list[tuple[int, bytes]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BenchError(f"cannot read the prompts: {error}") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _prompt(path: Path, number: int, line: bytes) -> str:
    try:
        prompt = orjson.loads(line)["prompt"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        prompt = None
    if not isinstance(prompt, str):
        raise BenchError(f'{path}, line {number}: not of the form {{"prompt": "..."}}')
    return prompt
