"""Request lengths as they were: read from a JSONL file, counted. Recommends nothing.

A line is an object with `prompt_tokens`, `completion_tokens` and `arrival_s` (seconds, from any
start); more keys do not matter.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from build_engine.errors import BuildError

_FIELDS = ("prompt_tokens", "completion_tokens", "arrival_s")


@dataclass(frozen=True)
class Request:
    """One request of a trace."""

    prompt_tokens: int
    completion_tokens: int
    arrival_s: float

    @property
    def total_tokens(self) -> int:
        """Tokens of context that it ended with."""
        return self.prompt_tokens + self.completion_tokens


def read_trace(path: Path) -> list[Request]:
    """Return the requests of a trace in order of arrival; raises BuildError naming the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BuildError(f"{path}: {error}") from error
    requests = [_request(f"{path}:{at}", line) for at, line in enumerate(lines, 1) if line.strip()]
    if not requests:
        raise BuildError(f"{path} holds no requests")
    return sorted(requests, key=lambda request: request.arrival_s)


def _request(where: str, line: str) -> Request:
    try:
        content = json.loads(line)
        prompt, completion, arrival = (content[field] for field in _FIELDS)
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(f"{where}: not an object with {', '.join(_FIELDS)}: {error!r}") from error
    counts = (prompt, completion)
    if not all(isinstance(count, int) and count >= 0 for count in counts) or prompt == 0:
        raise BuildError(f"{where}: prompt_tokens and completion_tokens must be counts of tokens")
    if not isinstance(arrival, int | float):
        raise BuildError(f"{where}: arrival_s must be a number of seconds")
    return Request(prompt, completion, float(arrival))


def quantile(values: Sequence[int], share: float) -> int:
    """Return the least value that a share of all values does not exceed."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(rank) - 1]


def concurrency(requests: Sequence[Request], seconds_per_token: float) -> list[int]:
    """Return how many requests run as each arrives, if each answer token takes so long."""
    running: list[float] = []
    counts = []
    for request in requests:
        running = [end for end in running if end > request.arrival_s]
        running.append(request.arrival_s + request.completion_tokens * seconds_per_token)
        counts.append(len(running))
    return counts
