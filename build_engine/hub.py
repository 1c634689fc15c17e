"""Weights and texts from the Hugging Face hub: pinned, resumable, checked. Knows no engines.

The token is huggingface-hub's to read (HF_TOKEN, or what `hf auth login` stored); it is neither
printed nor handed on.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

from build_engine.errors import BuildError

Moved = Callable[[int, int], None]
_POLL_S = 0.2
_CHUNK_BYTES = 2**22
_ATTEMPTS = 2
_CONNECTIONS = 4


class DownloadFailed(BuildError):
    """The weights could not be had; the message says what to do."""


@dataclass(frozen=True)
class Kind:
    """What is on the hub: which of its files are wanted, and which of them must be there."""

    name: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]
    needed: tuple[str, ...]
    refusal: str


MODEL = Kind(
    "model",
    ("*.safetensors", "*.json", "*.jinja"),
    ("original/*", "*/*"),
    ("*.safetensors",),
    "has no safetensors, and other formats can run code when they are read: name a repository "
    "that has them",
)
# Data alone: a script of a data set runs when it is loaded.
DATASET = Kind(
    "dataset",
    ("*.parquet", "*.jsonl", "*.json", "*.csv", "*.md"),
    (),
    ("*.parquet", "*.jsonl", "*.json", "*.csv"),
    "has no parquet, JSON or CSV: name a data set that has them",
)


@dataclass(frozen=True)
class Pinned:
    """One commit of a repository on the hub."""

    id: str
    revision: str
    kind: Kind = MODEL

    @property
    def page(self) -> str:
        """Where people look at it."""
        folder = "datasets/" if self.kind is DATASET else ""
        return f"https://huggingface.co/{folder}{self.id}"


def fetch(weights: Pinned, folder: Path, moved: Moved) -> None:
    """Link the wanted files of a commit into a folder, from the hub's cache.

    What the cache has is not fetched again, what is half there is continued, and every file is
    held against the digest that the hub publishes. `moved` hears bytes done and in all.
    Raises DownloadFailed.
    """
    import huggingface_hub
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    with _explained(weights):
        files = _published(huggingface_hub.HfApi(), weights)
        for attempt in range(_ATTEMPTS):
            snapshot = _download(weights, files, moved)
            damaged = [name for name, file in files.items() if not _is_sound(snapshot / name, file)]
            if not damaged:
                break
            for name in damaged:
                _remove(snapshot / name)
            if attempt + 1 == _ATTEMPTS:
                raise DownloadFailed(
                    f"{weights.id}: {', '.join(damaged)} arrived with another content than the "
                    "hub publishes, twice. What arrived was removed: look for a proxy or a mirror "
                    "in between, then run the same command again"
                )
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to((snapshot / name).resolve())


def _published(api: Any, weights: Pinned) -> dict[str, Any]:
    """Return the files to fetch by name, with what the hub says of them."""
    kind = weights.kind
    info = api.repo_info(
        weights.id, revision=weights.revision, repo_type=kind.name, files_metadata=True
    )
    files = {
        file.rfilename: file
        for file in info.siblings
        if _is_like(file.rfilename, kind.wanted) and not _is_like(file.rfilename, kind.unwanted)
    }
    if not any(_is_like(name, kind.needed) for name in files):
        raise DownloadFailed(f"{weights.id} at {weights.revision[:12]} {kind.refusal}")
    return files


def _is_like(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _download(weights: Pinned, files: dict[str, Any], moved: Moved) -> Path:
    import huggingface_hub
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=weights.id, repo_type=weights.kind.name)
    blobs = Path(HF_HUB_CACHE, name, "blobs")
    total = sum(file.size or 0 for file in files.values())
    with _watching(blobs, total, moved), ThreadPoolExecutor(_CONNECTIONS) as pool:
        large = [(name, file.lfs) for name, file in files.items() if file.lfs is not None]
        list(pool.map(lambda item: _fetch_blob(weights, item[0], item[1], blobs), large))
        return Path(
            huggingface_hub.snapshot_download(
                weights.id,
                revision=weights.revision,
                repo_type=weights.kind.name,
                allow_patterns=list(files),
            )
        )


def _fetch_blob(weights: Pinned, name: str, stored: Any, blobs: Path) -> None:
    """Put a large file where the hub's cache keeps its content, going on where another fetch of
    it stopped: huggingface-hub by itself begins again with each process."""
    import huggingface_hub
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    blob = blobs / stored.sha256
    if blob.exists():
        return
    blobs.mkdir(parents=True, exist_ok=True)
    partial = blobs / f"{stored.sha256}.partial"
    partial.touch()
    with partial.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if blob.exists():
            return  # by another build, meanwhile
        if file.seek(0, os.SEEK_END) > stored.size:
            file.truncate(0)
        http_get(
            huggingface_hub.hf_hub_url(
                weights.id, name, revision=weights.revision, repo_type=weights.kind.name
            ),
            file,
            resume_size=file.seek(0, os.SEEK_END),
            headers=build_hf_headers(),
            expected_size=stored.size,
        )
        partial.rename(blob)


@contextmanager
def _watching(blobs: Path, total_bytes: int, moved: Moved) -> Iterator[None]:
    """Report what is in a folder until the block ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_S):
            moved(min(_size_of(blobs), total_bytes), total_bytes)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
        moved(total_bytes, total_bytes)
    finally:
        over.set()
        watcher.join()


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue  # moved meanwhile
    return total


def _is_sound(path: Path, published: Any) -> bool:
    """Hold a file against its SHA-256, or as git's blob where it is not in large file storage."""
    if not path.is_file():
        return False
    if published.lfs is not None:
        digest, wanted = hashlib.sha256(), published.lfs.sha256
    else:
        digest, wanted = hashlib.sha1(usedforsecurity=False), published.blob_id
        digest.update(f"blob {path.stat().st_size}\0".encode())
    return _digest(path, digest) == str(wanted)


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    text: str = digest.hexdigest()
    return text


def _remove(path: Path) -> None:
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


@contextmanager
def _explained(weights: Pinned) -> Iterator[None]:
    """Turn the hub's errors into what to do about them."""
    from huggingface_hub import errors

    # The base of its HTTP library's errors, whichever library this version of it uses.
    bases = errors.HfHubHTTPError.__mro__
    http_error = cast(type[Exception], next(b for b in bases if b.__name__ == "HTTPError"))

    page = weights.page
    try:
        yield
    except errors.GatedRepoError as error:
        raise DownloadFailed(
            f"{weights.id} is gated: accept its licence at {page}, then set HF_TOKEN to a token "
            "that may read it (https://huggingface.co/settings/tokens)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadFailed(
            f"{weights.id} has no commit {weights.revision}: see {page}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadFailed(
            f"{weights.id} is not there, or not for this token: see {page}, and whether HF_TOKEN "
            "is set"
        ) from error
    except http_error as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadFailed(
            f"{weights.id} could not be fetched ({reason}). What has arrived is kept: run the same "
            "command again"
        ) from error
    except OSError as error:
        raise DownloadFailed(
            f"{weights.id}: {error}. What has arrived is kept: run the same command again once "
            "that is put right"
        ) from error
