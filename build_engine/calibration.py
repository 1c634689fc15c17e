"""Texts to calibrate with, in a folder of one's own: known by their SHA-256. Reads no texts."""

import hashlib
from pathlib import Path

from build_engine.errors import BuildError
from build_engine.files import sha256
from build_engine.progress import Meter, silent


def digest(folder: Path) -> str:
    """Return the SHA-256 of the names and the SHA-256 of all files in a folder, as `sha256sum`
    prints them (digest, two spaces, path below the folder), in order of their paths.

    So is it counted by hand: cd FOLDER && find . -type f -printf '%P\\n' | LC_ALL=C sort
    | xargs -d '\\n' sha256sum | sha256sum
    """
    whole = hashlib.sha256()
    names = sorted(
        (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
        key=str.encode,
    )
    for name in names:
        path = folder / name
        whole.update(f"{sha256(path, Meter(silent, '', path.stat().st_size))}  {name}\n".encode())
    return whole.hexdigest()


def link(folder: Path, wanted: str, target: Path) -> None:
    """Put a folder of texts in a second place, by links. Raises BuildError unless its digest is
    the one that is wanted."""
    if not folder.is_dir():
        raise BuildError(f"quantization.calibration.path: {folder} is no folder here")
    found = digest(folder)
    if found != wanted:
        raise BuildError(
            f"quantization.calibration.sha256: {folder} has {found}. If these are the texts that "
            "are meant, name this one in the spec"
        )
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())
