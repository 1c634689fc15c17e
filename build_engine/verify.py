"""A finished repository held against its own spec and manifest. Changes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from build_engine.artifacts import engine_problems, read_json
from build_engine.errors import BuildError
from build_engine.files import sha256
from build_engine.grammar import tokenizer_info, vocabulary_of
from build_engine.manifest import MANIFEST, Manifest
from build_engine.outcome import EngineFacts
from build_engine.production import (
    ENGINE,
    GATEWAY_FILE,
    GRAMMAR,
    SPEC_FILE,
    TOKENIZER,
    VERSION,
    Place,
    configs,
    facts_of,
    gateway_file,
)
from build_engine.progress import Meter, silent
from build_engine.spec import EngineSpec, load_spec


@dataclass(frozen=True)
class Check:
    """One thing looked at, and what is wrong with it."""

    name: str
    problems: tuple[str, ...]


def verify(repository: Path) -> list[Check]:
    """Return what was checked in a repository for TensorRT-LLM.

    Raises BuildError where the folder is none, so that nothing can be checked.
    """
    manifest = Manifest.read(repository)
    try:
        spec = load_spec(str(repository / SPEC_FILE))
        place = Place(Path(manifest.inputs["mount"]), manifest.inputs["triton"])
    except (BuildError, KeyError) as error:
        raise BuildError(f"{repository} has no engine of TensorRT-LLM: {error}") from error
    looked_at = {
        "manifest": _manifest(spec, manifest),
        "files": _files(repository, manifest),
        "engine": engine_problems(spec, repository / VERSION),
        "configs": config_problems(
            spec, place, _config_texts(repository), facts_of(spec, repository / VERSION)
        ),
        "tokenizer": _tokenizer(spec, repository),
        "gateway": _gateway(spec, place, repository),
    }
    return [Check(name, tuple(problems)) for name, problems in looked_at.items()]


def _manifest(spec: EngineSpec, manifest: Manifest) -> Iterator[str]:
    if manifest.inputs.get("spec") != spec.model_dump(mode="json"):
        yield f"{SPEC_FILE} is not the spec that {MANIFEST} was written for"
    facts, model = manifest.model, spec.model
    found = (manifest.engine, facts.id, facts.source, facts.revision, facts.context_length)
    wanted = (ENGINE, model.name, model.id, model.revision, spec.limits.max_seq_len)
    if found != wanted:
        yield f"{MANIFEST} names {found}, {SPEC_FILE} {wanted}"


def _files(repository: Path, manifest: Manifest) -> Iterator[str]:
    there = {
        path.relative_to(repository).as_posix()
        for path in repository.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } - {MANIFEST}
    for name in sorted(manifest.files.keys() - there):
        yield f"{name} is missing"
    for name in sorted(there - manifest.files.keys()):
        yield f"{name} was not built"
    for name in sorted(there & manifest.files.keys()):
        path, facts = repository / name, manifest.files[name]
        size = path.stat().st_size
        digest = sha256(path, Meter(silent, "", size))
        if (size, digest) != (facts.get("size"), facts.get("sha256")):
            yield f"{name} is not as it was built (SHA-256)"


def config_problems(
    spec: EngineSpec, place: Place, found: Mapping[str, str], facts: EngineFacts | None = None
) -> Iterator[str]:
    """Yield where config texts, by their paths, differ from what the templates make of a spec."""
    for name, wanted in configs(spec, place, facts).items():
        text = found.get(name, "")
        if text != wanted:
            lines = zip_longest(text.splitlines(), wanted.splitlines(), fillvalue="")
            differing = ((at, line) for at, (other, line) in enumerate(lines, 1) if other != line)
            number, line = next(differing, (1, ""))
            yield f"{name}:{number}: the spec makes it {line.strip()!r}"


def _config_texts(repository: Path) -> dict[str, str]:
    paths = repository.glob("*/config.pbtxt")
    return {path.relative_to(repository).as_posix(): path.read_text("utf-8") for path in paths}


def _tokenizer(spec: EngineSpec, repository: Path) -> Iterator[str]:
    folder = repository / TOKENIZER
    try:
        text = (folder / "tokenizer.json").read_text(encoding="utf-8")
        size = len(vocabulary_of(text, folder))
        if size != spec.shape.vocab:
            yield f"{size:,} tokens, but the engine has {spec.shape.vocab:,}"
        if spec.is_guided:
            yield from _grammar(folder, repository / GRAMMAR)
    except (OSError, UnicodeDecodeError, BuildError) as error:
        yield str(error)


def _grammar(tokenizer: Path, path: Path) -> Iterator[str]:
    if read_json(path) != tokenizer_info(tokenizer):
        yield f"{path.name} does not describe this tokenizer: guided decoding would go astray"


def _gateway(spec: EngineSpec, place: Place, repository: Path) -> Iterator[str]:
    path = repository / GATEWAY_FILE
    expected = gateway_file(spec, place, repository / TOKENIZER)
    if not path.is_file() or path.read_text(encoding="utf-8") != expected:
        yield f"{GATEWAY_FILE} is not what the spec makes it"
