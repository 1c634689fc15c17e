"""The metadata of a GGUF is read as it was written."""

from pathlib import Path

import pytest

from build_engine.gguf import BadGguf, Gguf
from tests.gguf_files import LLAMA, write_gguf

EVERY_KIND = {
    "general.architecture": "llama",
    "a.flag": True,
    "a.number": 7,
    "a.fraction": 0.25,
    "a.text": "naïve 😀",
    "some.numbers": [1, -2, 3],
    "some.fractions": [0.5, 0.25],
    "some.flags": [True, False],
    "some.texts": ["", "a", "é"],
}


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", EVERY_KIND)

    assert Gguf.read(path).values == EVERY_KIND


def test_a_missing_key_is_named_with_the_file(tmp_path: Path) -> None:
    gguf = Gguf.read(write_gguf(tmp_path / "model.gguf", EVERY_KIND))

    with pytest.raises(BadGguf, match=r"model\.gguf has no llama\.context_length"):
        gguf.get("llama.context_length", int)


def test_a_value_of_another_kind_counts_as_missing(tmp_path: Path) -> None:
    gguf = Gguf.read(write_gguf(tmp_path / "model.gguf", EVERY_KIND))

    with pytest.raises(BadGguf, match=r"has no a\.number"):
        gguf.get("a.number", str)


@pytest.mark.parametrize("kept", [4, 10, 24, 30, 60, 200, 1000], ids="first {} bytes".format)
def test_a_file_that_ends_early_is_refused(tmp_path: Path, kept: int) -> None:
    path = write_gguf(tmp_path / "model.gguf", LLAMA)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(BadGguf, match=r"model\.gguf"):
        Gguf.read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a GGUF file"),
        (b"PK\x03\x04" + bytes(64), "not a GGUF file"),
        (b"GGUF\x01\x00\x00\x00" + bytes(16), "version 1 is not supported"),
        (b"GGUF\x03\x00\x00\x00" + bytes(8) + b"\xff" * 24, "damaged"),
    ],
    ids=["empty", "a zip", "version 1", "absurd lengths"],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)

    with pytest.raises(BadGguf, match=said):
        Gguf.read(path)
