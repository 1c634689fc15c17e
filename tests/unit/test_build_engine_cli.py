"""What `build-engine` prints, and how soon it starts."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from build_engine.cli import app
from tests.gguf_files import LLAMA, write_gguf


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "Tiny-Llama.Q4_1.gguf", LLAMA)


def test_a_build_and_its_repetition_say_what_they_did(model: Path, tmp_path: Path) -> None:
    command = ["repository", "--model", str(model), "--output", str(tmp_path / "repository")]

    first, second = (CliRunner().invoke(app, command) for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.startswith(f"Built {tmp_path / 'repository'}")
    assert "tiny-llama (Tiny-Llama.Q4_1.gguf, sha256" in first.stdout
    assert second.stdout.startswith("Already built, nothing changed")


def test_what_cannot_be_built_is_one_line_of_error(model: Path, tmp_path: Path) -> None:
    write_gguf(model, LLAMA | {"general.architecture": "qwen2"})

    result = CliRunner().invoke(
        app, ["repository", "--model", str(model), "--output", str(tmp_path / "repository")]
    )

    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "architecture 'qwen2'" in result.stderr


@pytest.mark.parametrize("heavy", ["transformers", "fastapi", "grpc", "numpy", "openvino_genai"])
def test_the_command_starts_without_heavy_packages(heavy: str) -> None:
    program = f"import sys, build_engine.cli; sys.exit({heavy!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
