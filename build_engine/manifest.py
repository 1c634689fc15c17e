"""What a model repository was made from and consists of, written beside it as manifest.json."""

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from build_engine.errors import BuildError
from build_engine.files import sha256
from build_engine.progress import Meter, Progress

MANIFEST = "manifest.json"
_FORMAT = 1
_TOOLS = ("triton-openai-gateway", "tokenizers", "nvidia-pytriton", "openvino-genai")


@dataclass(frozen=True)
class ModelFacts:
    """The model in a repository; `revision` is a SHA-256, `context_length` counts tokens."""

    id: str
    source: str
    revision: str
    context_length: int


@dataclass(frozen=True)
class Manifest:
    """A finished build: `inputs` decides whether it is current, `files` whether it is whole."""

    engine: str
    model: ModelFacts
    inputs: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Return the manifest of a repository; raises BuildError where the folder is not one."""
        try:
            content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT:
                raise ValueError("unknown format")
            return cls(model=ModelFacts(**content.pop("model")), **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BuildError(f"{folder} is not a model repository built by this tool") from error

    def write(self, folder: Path) -> None:
        """Write manifest.json into the folder."""
        content = json.dumps({"format": _FORMAT, **asdict(self)}, indent=2) + "\n"
        (folder / MANIFEST).write_text(content, encoding="utf-8")

    def is_whole(self, folder: Path) -> bool:
        """Tell whether every file is there with the size and time it was written with."""
        return all(
            (folder / name).is_file() and stamp(folder / name).items() <= facts.items()
            for name, facts in self.files.items()
        )


def stamp(path: Path) -> dict[str, int]:
    """Return what changes when a file does, found without reading it."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}


def describe(folder: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """Return size, time and SHA-256 of every file under a folder, by its relative path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    meter = Meter(progress, "Hashing", sum(path.stat().st_size for path in paths))
    return {
        path.relative_to(folder).as_posix(): {**stamp(path), "sha256": sha256(path, meter)}
        for path in paths
    }


def tool_versions(tools: Iterable[str] = _TOOLS) -> dict[str, str]:
    """Return the versions of Python and of the tools that are installed."""
    found = {"python": platform.python_version()}
    for tool in tools:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found
