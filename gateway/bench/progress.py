"""Progress of a sweep as one bar per concurrency on stderr, where that is a terminal."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from gateway.bench.figures import Level


class SweepBars:
    """Draws when it is told something and never of its own accord: the measurement would see it."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:>14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[line]}", style="dim"),
            console=console,
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._bars: dict[int, TaskID] = {}

    def moved(self, concurrency: int, done: int, requests: int, chunks: int) -> None:
        """Show how many requests are done, and the chunks that have come."""
        if concurrency not in self._bars:
            name = f"{concurrency} streams"
            self._bars[concurrency] = self._progress.add_task(name, total=requests, line="")
        self._draw(concurrency, done, f"{chunks:,} chunks")

    def finished(self, level: Level) -> None:
        """Show one concurrency as done."""
        line = f"{level.output_tokens_per_s:,.0f} tokens/s"
        self._draw(level.concurrency, level.answered + level.failed, line)

    def _draw(self, concurrency: int, done: int, line: str) -> None:
        self._progress.update(self._bars[concurrency], completed=done, line=line)
        self._progress.refresh()

    def __enter__(self) -> "SweepBars":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
