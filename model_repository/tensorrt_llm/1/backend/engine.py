"""The seam between the loop that answers requests and whatever generates their tokens."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from backend.contract import Request, Tensors

Tops = Sequence[tuple[int, float]]
"""The likeliest tokens at a place and a natural log each, the likeliest first."""


class PromptLogProbs(NamedTuple):
    """A natural log for each token of a prompt but the first, and the likeliest there."""

    log_probs: list[float]
    tops: Sequence[Tops]


class Progress(NamedTuple):
    """What one sequence gained in a step: token ids, a natural log each, or the reason it failed.

    `log_probs` may be empty where none were asked for; `is_finished` when the engine ended it
    itself; `reused_blocks` of the KV cache, -1 where that is not known. Progress of a key that was
    stopped is ignored. `tops` are those of each token, and `prompt` comes once, with the first
    token or before it, both where they were asked for.
    """

    key: int
    ids: list[int]
    log_probs: list[float]
    is_finished: bool = False
    error: Exception | None = None
    reused_blocks: int = -1
    tops: Sequence[Tops] = ()
    prompt: PromptLogProbs | None = None


class Engine(Protocol):
    """Something that advances many sequences at once, all on the thread of the loop.

    One that advances by itself, and tells of it when it likes, is best made of an `AsyncEngine`.
    """

    def check(self, tensors: Tensors, request: Request) -> None:
        """Return if the request can be honoured; raise Refused, naming the tensor, if not.

        Called from other threads too.
        """
        ...

    def is_prepared(self, request: Request) -> bool:
        """Whether the request may start without `prepare`; raise Refused where it never may."""
        ...

    def prepare(self, request: Request) -> None:
        """Do what the start of the request needs and takes long; raise Refused if it is in vain.

        Called from one thread beside the loop's.
        """
        ...

    def has_room(self, request: Request) -> bool:
        """Whether all sequences of the request can start now."""
        ...

    def start(self, keys: Sequence[int], request: Request) -> None:
        """Begin all sequences of the request, to be called `keys` from now on."""
        ...

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything, be it for a sequence that was stopped."""
        ...

    def step(self) -> Iterable[Progress]:
        """Advance every sequence by about one token, or wait until some have advanced."""
        ...

    def wake(self) -> None:
        """End the wait of the step under way, if it waits; called from any thread."""
        ...

    def stop(self, key: int) -> None:
        """Forget a sequence, whether it has finished, goes on, or never began."""
        ...

    def reset(self) -> None:
        """Forget every sequence, after a step that raised."""
        ...

    def tidy(self) -> None:
        """Give back what has piled up; called where there is nothing to do."""
        ...

    def close(self) -> None:
        """End what `prepare` does and the engine itself; nothing is asked of it after."""
        ...
