"""One request being answered: its sequences, its clock, and what its caller is sent."""

import time
from typing import Protocol

from backend.contract import Request
from backend.engine import Progress, PromptLogProbs
from backend.responses import Delta, PerfMetrics
from backend.sequence import Sequence


class QueueFull(Exception):
    """More requests wait for room than the deployment allows."""


class Cancelled(Exception):
    """The caller has gone away."""


class Call(Protocol):
    """Whoever waits for the answer. After a final response or a failure nothing more is sent."""

    def is_cancelled(self) -> bool:
        """Whether the caller has gone away."""
        ...

    def send(self, delta: Delta, is_final: bool) -> None:
        """Send tokens."""
        ...

    def end(self) -> None:
        """Send the final flag alone, without tensors."""
        ...

    def fail(self, error: Exception) -> None:
        """Send an error, which is final."""
        ...


class Generation:
    """Collects progress and sends it: deltas while streaming, one response per sequence if not."""

    def __init__(self, request: Request, call: Call) -> None:
        self.request = request
        self.call = call
        self.sequences = [Sequence(request, i) for i in range(request.num_return_sequences)]
        self._metrics = PerfMetrics(arrival_time_ns=time.monotonic_ns())
        self._prompt: PromptLogProbs | None = None

    @property
    def is_finished(self) -> bool:
        """Whether every sequence has ended, so that the final response was sent."""
        return all(sequence.is_finished for sequence in self.sequences)

    def note_scheduled(self) -> None:
        """Record that the engine has begun."""
        self._metrics.first_scheduled_time_ns = time.monotonic_ns()

    def push(self, index: int, progress: Progress) -> None:
        """Take what the engine generated for sequence `index`, and send what is due."""
        sequence = self.sequences[index]
        kept = sequence.push(progress)
        self._prompt = progress.prompt or self._prompt
        self._note_token(progress)
        if self.request.streaming:
            self._send(sequence, kept)
        elif sequence.is_finished:
            self._send(sequence, len(sequence.ids))

    def end_early(self) -> None:
        """Send an empty final response: the generation was stopped from outside."""
        first = self.sequences[0]
        self.call.send(Delta(self.request, 0, [], self._log_probs(first)), True)

    def _send(self, sequence: Sequence, count: int) -> None:
        """Send the last so many tokens."""
        if not count and not sequence.is_finished:
            return
        delta = Delta(
            self.request,
            sequence.index,
            sequence.ids[-count:] if count else [],
            self._log_probs(sequence),
            self._metrics if sequence.is_finished else None,
            sequence.tops[-count:] if count else [],
            self._prompt,
        )
        self._prompt = None
        self.call.send(delta, self.is_finished)

    def _log_probs(self, sequence: Sequence) -> list[float]:
        return list(sequence.log_probs) if self.request.return_log_probs else []

    def _note_token(self, progress: Progress) -> None:
        now = time.monotonic_ns()
        self._metrics.first_token_time_ns = self._metrics.first_token_time_ns or now
        self._metrics.last_token_time_ns = now
        self._metrics.kv_cache_reused_blocks = progress.reused_blocks
