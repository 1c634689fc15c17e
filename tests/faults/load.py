"""Many streams at once, each read to its end over a socket of its own."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.serving import post


@dataclass
class Answer:
    """What came of a request, and when: seconds from its start; nothing where it never did."""

    status: int = 0
    text: str = ""
    finish_reason: str = ""
    error: str = ""
    is_done: bool = False
    first_s: float | None = None
    total_s: float = 0.0
    cached_tokens: int = 0
    prompt_tokens: int = 0

    @property
    def is_whole(self) -> bool:
        return self.is_done and bool(self.finish_reason) and not self.error

    @property
    def is_stated(self) -> bool:
        """Whether it ended by an error that says what it is."""
        return bool(self.error)

    def take(self, line: bytes, elapsed_s: float) -> None:
        """Take a line of the stream."""
        if not line.startswith((b"data: ", b"{")):
            return
        data = line.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            self.is_done = True
            return
        event: dict[str, Any] = json.loads(data)
        if "error" in event:
            self.error = str(event["error"]["code"])
            return
        for choice in event["choices"]:
            if content := choice["delta"].get("content"):
                self.text += content
                if self.first_s is None:
                    self.first_s = elapsed_s
            self.finish_reason = choice["finish_reason"] or self.finish_reason
        if usage := event.get("usage"):
            self.prompt_tokens = usage["prompt_tokens"]
            self.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]


@dataclass
class Ask:
    """A request under way; `begun` is set with its first token."""

    port: int
    body: dict[str, Any]
    headers: Sequence[str] = ()
    answer: Answer = field(default_factory=Answer)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> Answer:
        """Return what came of it."""
        started = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(post("/v1/chat/completions", self.body, *self.headers))
            self.answer.status = int((await reader.readline()).split()[1])
            async for line in reader:
                self.answer.take(line, time.monotonic() - started)
                if self.answer.first_s is not None:
                    self.begun.set()
        finally:
            writer.close()
            self.answer.total_s = time.monotonic() - started
        return self.answer


def chat(model: str, *messages: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a chat whose messages take turns, the first being the system's."""
    roles = ["system", *["user", "assistant"] * len(messages)]
    return {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": role, "content": content}
            for role, content in zip(roles, messages, strict=False)
        ],
        **fields,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
