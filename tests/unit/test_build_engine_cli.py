"""What `build-engine` prints, and how soon it starts."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from build_engine.cli import app
from build_engine.spec import EngineSpec, load_spec, shipped_specs
from tests.gguf_files import LLAMA, write_gguf
from tests.stand_ins.model import write_tokenizer


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


NO_PLACE = {
    "repository": ["repository", "--engine", "simulated", "--tokenizer", "TOKENIZER", "--output"],
    "build": ["build", "llama-3.2-1b", "--output"],
    "tokenizer": ["tokenizer", "--meta", "MISSING", "--output"],
}


@pytest.mark.parametrize("command", NO_PLACE)
def test_a_place_that_cannot_be_written_to_is_one_line_of_error(
    command: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    words = [str(tmp_path) if word == "TOKENIZER" else word for word in NO_PLACE[command]]
    write_tokenizer(tmp_path, num_words=300)

    result = CliRunner().invoke(app, [*words, str(tmp_path / "file" / "folder")])

    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_a_full_disk_is_one_line_of_error(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"prompt_tokens": 5, "completion_tokens": 5, "arrival_s": 0}\n')

    result = CliRunner().invoke(app, ["tune", "--trace", str(trace), "--output", "/dev/full"])

    assert result.exit_code == 1
    assert "No space left on device; free some space there" in result.stderr


def test_a_repository_that_outgrows_its_disk_is_one_line_of_error_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "model").mkdir()
    write_tokenizer(tmp_path / "model", num_words=300)
    words = ["repository", "--engine", "simulated", "--tokenizer", str(tmp_path / "model")]
    program = (
        "import resource, sys, build_engine.cli as c\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "c.main()"
    )

    output = tmp_path / "repository"
    result = subprocess.run(
        [sys.executable, "-c", program, *words, "--output", str(output)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    "words",
    [["verify", "/nowhere"], ["tune", "--trace", "/nowhere"], ["plan", "/nowhere.yaml"],
     ["repository", "--model", "/nowhere", "--output", "/tmp/x"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_what_is_not_there_is_an_error_with_status_1(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)

    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "/nowhere" in result.stderr


def test_specs_fit_a_terminal_of_80_columns_and_lose_nothing() -> None:
    result = CliRunner().invoke(app, ["specs"], env={"COLUMNS": "80"})

    lines = result.stdout.splitlines()
    assert len(lines) == 1 + len(shipped_specs())
    assert all(len(line) <= 80 and "…" not in line for line in lines)
    for line, name in zip(lines[1:], shipped_specs(), strict=True):
        spec = load_spec(name)
        assert line.split()[:2] == [name, precision_of(spec)]
        assert line.split()[-2:] == [
            str(spec.limits.max_batch_size), f"{spec.limits.max_seq_len:,}",
        ]  # fmt: skip
        assert f"{spec.parallel.world_size} x {spec.gpu}" in line


def precision_of(spec: EngineSpec) -> str:
    weights = spec.quantization.weights
    return spec.dtype if weights == "none" else weights
