"""Files of a build: hashed, placed, and put where they belong all at once or not at all."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from build_engine.errors import BuildError
from build_engine.progress import Meter

_CHUNK_BYTES = 2**20


def copy_hashed(source: IO[bytes], target: IO[bytes], meter: Meter) -> str:
    """Copy a stream; return the SHA-256 of what passed, in hex."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
        meter.advance(len(chunk))
    return digest.hexdigest()


def sha256(path: Path, meter: Meter) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as source, open(os.devnull, "wb") as nowhere:
        return copy_hashed(source, nowhere, meter)


def place(source: Path, target: Path) -> None:
    """Put a large file in a second place, by hard link where the file system allows it."""
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def locked(folder: Path, *, waits: bool = True) -> Iterator[None]:
    """Hold a folder against other builds; a second one waits until the first is through.

    Raises BuildError instead of waiting where `waits` is False. A build that is killed lets go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, folder, waits)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, waits: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        raise BuildError(
            f"another build is at work in {folder}: wait until it is through, or choose another "
            "place with --output"
        ) from None


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends without error."""
    staging = target.with_name(f".{target.name}.building")
    replaced = target.with_name(f".{target.name}.replaced")
    _remove(staging)
    staging.mkdir(parents=True)
    try:
        yield staging
        _remove(replaced)
        with contextlib.suppress(FileNotFoundError):
            target.rename(replaced)
        staging.rename(target)
    finally:
        _remove(staging)
        _remove(replaced)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
