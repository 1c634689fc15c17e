"""Progress of a build as bars on the terminal. Builds nothing."""

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ProgressBars:
    """A Progress that draws one bar per step on stderr, where that is a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done_bytes: int, total_bytes: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step)
        self._bars.update(self._tasks[step], completed=done_bytes, total=total_bytes)

    def __enter__(self) -> "ProgressBars":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()


class StageBoard:
    """Shows the stages of a build: live on a terminal, else a line for each that is done."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<10}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[line]}", style="dim"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def started(self, stage: str) -> None:
        """Show a stage as running."""
        self._tasks[stage] = self._bars.add_task(stage, total=1, line="")
        self._print(f"{stage}: started")

    def said(self, stage: str, line: str) -> None:
        """Show a stage's latest word."""
        width = max(20, self._console.width - 30)
        self._bars.update(self._tasks[stage], line=escape(line[:width]))

    def moved(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """Show how far a stage is."""
        line = f"{done_bytes / 2**30:.2f} of {total_bytes / 2**30:.2f} GiB"
        self._bars.update(self._tasks[stage], line=line)

    def finished(self, stage: str, seconds: float) -> None:
        """Show a stage as done."""
        self._bars.update(self._tasks[stage], completed=1, line="")
        self._print(f"{stage}: done in {seconds:.1f} s")

    def skipped(self, stage: str) -> None:
        """Show a stage as done before."""
        self._tasks[stage] = self._bars.add_task(stage, total=1, completed=1, line="done before")
        self._print(f"{stage}: done before")

    def _print(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(text, highlight=False, markup=False)

    def __enter__(self) -> "StageBoard":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()
