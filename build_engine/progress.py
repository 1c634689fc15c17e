"""How a build says how far it is. Draws nothing."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done, and the bytes in all."""


def silent(step: str, done_bytes: int, total_bytes: int) -> None:
    """A Progress that tells nobody."""


class Meter:
    """Counts the bytes of one step towards its total."""

    def __init__(self, progress: Progress, step: str, total_bytes: int) -> None:
        self._progress = progress
        self._step = step
        self._total_bytes = total_bytes
        self._done_bytes = 0

    def advance(self, num_bytes: int) -> None:
        """Report that so many more bytes are done."""
        self._done_bytes += num_bytes
        self._progress(self._step, self._done_bytes, self._total_bytes)
