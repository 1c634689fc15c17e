"""One request, asked whole and streamed, and what came back in a form that can be compared."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx

from tests.e2e.conftest import Stack

# Which requests are decoded together changes how sums are rounded. Among a vocabulary's ten
# thousands of least likely tokens, that is enough to draw another one: draw from the likely ones.
LIKELY: dict[str, Any] = {"top_k": 20}


@dataclass(frozen=True)
class Reply:
    """One choice, however it came."""

    text: str
    calls: tuple[tuple[str, str], ...]
    finish_reason: str
    usage: Any
    logprobs: Any


def agree(one: list[Reply], other: list[Reply]) -> bool:
    """Tell whether answers are the same, log probabilities up to the rounding of their batch."""
    pairs = list(zip(one, other, strict=True))
    same = all(replace(a, logprobs=None) == replace(b, logprobs=None) for a, b in pairs)
    return same and all(_alike(a.logprobs or [], b.logprobs or []) for a, b in pairs)


def _alike(one: list[Any], other: list[Any]) -> bool:
    return [entry["token"] for entry in one] == [entry["token"] for entry in other] and all(
        abs(a["logprob"] - b["logprob"]) < 1e-3 for a, b in zip(one, other, strict=True)
    )


def differing(agrees: Callable[[int], bool], count: int, concurrent: int) -> int:
    """Assert that each of `count` pairs agrees; return how many had to be asked again, alone.

    Rounding may still turn a token: seldom, and not again and again.
    """
    with ThreadPoolExecutor(concurrent) as pool:
        agreed = list(pool.map(agrees, range(count)))
    doubtful = [i for i, same in enumerate(agreed) if not same]
    assert len(doubtful) <= 2
    assert [i for i in doubtful if not agrees(i)] == []
    return len(doubtful)


def ask(stack: Stack, content: str, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": content}
    return {"model": stack.model, "messages": [message], "seed": 1, **fields}


def whole(stack: Stack, body: dict[str, Any]) -> list[Reply]:
    response = httpx.post(f"{stack.url}/v1/chat/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    answer = response.json()
    return [
        Reply(
            text=choice["message"]["content"] or "",
            calls=tuple(
                (call["function"]["name"], call["function"]["arguments"])
                for call in choice["message"].get("tool_calls", ())
            ),
            finish_reason=choice["finish_reason"],
            usage=answer["usage"],
            logprobs=(choice["logprobs"] or {}).get("content"),
        )
        for choice in answer["choices"]
    ]


def streamed(stack: Stack, body: dict[str, Any]) -> list[Reply]:
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    choices = [_Growing() for _ in range(body.get("n", 1))]
    usage = None
    url = f"{stack.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, timeout=60) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line[6:])
                usage = chunk["usage"] or usage
                for choice in chunk["choices"]:
                    choices[choice["index"]].add(choice)
    return [growing.reply(usage) for growing in choices]


class _Growing:
    def __init__(self) -> None:
        self.text = ""
        self.calls: list[list[str]] = []
        self.logprobs: list[Any] = []
        self.finish_reason = ""

    def add(self, choice: dict[str, Any]) -> None:
        self.text += choice["delta"].get("content") or ""
        self.logprobs += (choice["logprobs"] or {}).get("content") or []
        self.finish_reason = choice["finish_reason"] or self.finish_reason
        for call in choice["delta"].get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(self.calls)
                self.calls.append([call["function"]["name"], ""])
            self.calls[call["index"]][1] += call["function"]["arguments"]

    def reply(self, usage: Any) -> Reply:
        calls = tuple((name, arguments) for name, arguments in self.calls)
        return Reply(self.text, calls, self.finish_reason, usage, self.logprobs or None)
