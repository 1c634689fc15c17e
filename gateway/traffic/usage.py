"""What requests used: noted before an answer's last frame, in a file that outlives its writer.

A row is one line of a journal, there as soon as it is written, whatever becomes of the process;
from journals rows go on to the store, once each. Nothing of prompts or answers is in them.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import msgspec
import structlog

log = structlog.get_logger(__name__)

SUFFIX = ".journal"
_encode = msgspec.json.Encoder().encode


class Row(msgspec.Struct, frozen=True):
    """One request's usage. `at` is when it came, in Unix seconds; `id` is no other row's."""

    request_id: str
    at: float
    key: str
    tenant: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float
    finish_reason: str
    id: str = msgspec.field(default_factory=lambda: token_hex(16))


_decode = msgspec.json.Decoder(Row).decode


class Journal:
    """One process's journal. It is locked while it is written: others leave it alone."""

    def __init__(self, folder: Path) -> None:
        """Raise OSError where the folder cannot be written to."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._is_torn = self._has_rows = False
        self._begin()

    def write(self, row: Row) -> None:
        """Add a row. Raises OSError, a full disk's for one."""
        line = _encode(row) + b"\n"
        if self._is_torn:
            line = b"\n" + line
        self._is_torn = os.write(self._file, line) < len(line)
        self._has_rows = True

    def turn(self) -> Path | None:
        """Begin a new file; return the one before, complete, if there was anything in it."""
        if not self._has_rows:
            return None
        before, file = self.path, self._file
        self._begin()
        os.close(file)
        return before

    def close(self) -> None:
        """Let go of the file; an empty one is removed."""
        os.close(self._file)
        if not self._has_rows:
            self.path.unlink(missing_ok=True)

    def _begin(self) -> None:
        self.path = self._folder / f"{os.getpid()}-{token_hex(8)}{SUFFIX}"
        unlocked = self.path.with_suffix(".new")  # until it is locked, it is no journal to others
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._file = os.open(unlocked, flags, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        unlocked.rename(self.path)
        self._has_rows = self._is_torn = False


class UsageLog:
    """Notes rows, and never fails: what cannot be written is counted and told."""

    def __init__(self, folder: Path, on_loss: Callable[[], None] = lambda: None) -> None:
        """Raise OSError where the folder cannot be written to."""
        self.journal = Journal(folder)
        self._on_loss = on_loss

    def write(self, row: Row) -> None:
        """Add a row."""
        try:
            self.journal.write(row)
        except OSError as error:
            self._on_loss()
            log.error("usage_lost", reason=error.strerror)


def left_behind(folder: Path) -> Iterator[Path]:
    """Yield the journals that nobody writes any more."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(OSError):
            file = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(file)
            yield path


def rows_of(path: Path) -> Sequence[Row]:
    """Return the rows of a journal; a line that a crash has cut is none."""
    rows = []
    for line in path.read_bytes().splitlines():
        with suppress(msgspec.MsgspecError):
            rows.append(_decode(line))
    return rows
