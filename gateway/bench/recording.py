"""What was seen of one request, and the answer read out of it once nobody measures. No sockets."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson

_SPOKEN = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls")


@dataclass(slots=True)
class Recording:
    """One request as bytes and times; times in seconds, on `time.perf_counter`'s clock.

    `failure` says why there is no answer; empty where there may be one.
    """

    sent_at: float = 0.0
    chunks: list[tuple[float, bytes]] = field(default_factory=list)
    failure: str = ""
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A stream that came to its end; times in seconds.

    `gaps_s` lie between one event with content and the next.
    """

    ttft_s: float
    gaps_s: list[float]
    duration_s: float
    prompt_tokens: int
    output_tokens: int

    @property
    def itl_s(self) -> float:
        """The mean time from one token to the next."""
        return sum(self.gaps_s) / max(1, self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a whole answer."""

    reason: str


Outcome = Answer | Failure


def read(recording: Recording) -> Outcome:
    """Return the answer in a recording.

    Tokens are those of the stream's usage; without one, each event with content counts as a token.
    """
    if recording.failure:
        return Failure(recording.failure)
    spoken_at: list[float] = []
    usage: dict[str, int] = {}
    for at, data in _events(recording.chunks):
        if data == b"[DONE]":
            return _answer(recording.sent_at, spoken_at, at, usage)
        event = orjson.loads(data)
        if "error" in event:
            return Failure(f"error in the stream: {error_message(data)}")
        if _has_content(event):
            spoken_at.append(at)
        usage = event.get("usage") or usage
    return Failure("the stream was cut short")


def error_message(body: bytes) -> str:
    """Return what OpenAI's error object says, or the start of whatever the body is."""
    try:
        return str(orjson.loads(body)["error"]["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body[:200].decode(errors="replace").strip()


def _events(chunks: list[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """Yield the payloads of a stream, each with the time at which it was complete."""
    rest = b""
    for at, data in chunks:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield at, line[5:].strip()


def _has_content(event: dict[str, Any]) -> bool:
    deltas = (choice.get("delta") or {} for choice in event.get("choices") or ())
    return any(delta.get(name) for delta in deltas for name in _SPOKEN)


def _answer(sent_at: float, spoken_at: list[float], end: float, usage: dict[str, int]) -> Answer:
    return Answer(
        ttft_s=(spoken_at[0] if spoken_at else end) - sent_at,
        gaps_s=[later - earlier for earlier, later in pairwise(spoken_at)],
        duration_s=end - sent_at,
        prompt_tokens=usage.get("prompt_tokens", 0),
        output_tokens=usage.get("completion_tokens", len(spoken_at)),
    )
