"""Ways to cut what arrives, drawn from a seed so that a property test stays cheap."""

from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeVar

S = TypeVar("S", bound=Sequence[object])


def pieces(whole: S, seed: int) -> Iterator[S]:
    """Yield `whole` in pieces: one at a time, in small ones or in large ones, or empty."""
    random = Random(seed)
    longest = random.choice((1, 2, 4, 16, len(whole) + 1))
    start = 0
    while start < len(whole):
        end = start + (1 if longest == 1 else random.randint(0, longest))
        yield whole[start:end]  # type: ignore[misc]
        start = end
