"""Texts to calibrate with are known by their digest, and linked only where it is the one meant."""

import subprocess
from pathlib import Path

import pytest

from build_engine.calibration import digest, link
from build_engine.errors import BuildError
from build_engine.hub import DATASET
from build_engine.pipeline import Build
from build_engine.production import Place
from build_engine.spec import load_spec

BY_HAND = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train.jsonl").write_text('{"text": "One."}\n')
    (folder / "Read me.md").write_text("Two texts.\n")
    return folder


def test_the_digest_is_what_sha256sum_makes_of_a_folder(texts: Path) -> None:
    counted = subprocess.run(
        ["bash", "-c", BY_HAND], cwd=texts, capture_output=True, text=True, check=True
    )

    assert digest(texts) == counted.stdout.split()[0]


def test_texts_are_linked_where_they_are_those_meant(texts: Path, tmp_path: Path) -> None:
    link(texts, digest(texts), tmp_path / "stage" / "texts")

    linked = tmp_path / "stage" / "texts" / "data" / "train.jsonl"
    assert linked.read_text() == '{"text": "One."}\n'


@pytest.mark.parametrize("change", ["content", "name", "one more"])
def test_changed_texts_are_refused_and_their_digest_told(
    texts: Path, tmp_path: Path, change: str
) -> None:
    wanted = digest(texts)
    if change == "content":
        (texts / "Read me.md").write_text("Other texts.\n")
    elif change == "name":
        (texts / "Read me.md").rename(texts / "README.md")
    else:
        (texts / "more").touch()

    with pytest.raises(BuildError, match=rf"sha256: .* has {digest(texts)}"):
        link(texts, wanted, tmp_path / "stage")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="is no folder here"):
        link(tmp_path / "nowhere", "0" * 64, tmp_path / "stage")


def test_a_shipped_quantized_spec_pins_its_texts(tmp_path: Path) -> None:
    spec = load_spec("llama-3.1-8b-h100-fp8")
    build = Build(spec, tmp_path, Place(tmp_path), board=None, tools=None, hub_cache=tmp_path)  # type: ignore[arg-type]

    source = build.sources["calibration/cnn_dailymail"]

    assert source.kind is DATASET
    assert source.revision == "96df5e686bee6baa90b8bee7c28b81fa3fa6223d"
    assert build.download.inputs["calibration/cnn_dailymail"]["id"] == "abisee/cnn_dailymail"
