"""What a user can type is answered by a sentence that names it, never by a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway import __version__
from gateway.cli import app
from gateway.settings import Settings, name_of
from tests.fakes import tiny_tokenizer

TINY = f"--tokenizer={tiny_tokenizer()}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["serve", TINY, "--triton=foo"], "'--triton': 'foo' is not HOST:PORT"),
        (["serve", TINY, "--triton=foo:http"], "'--triton': 'foo:http' is not HOST:PORT"),
        (["serve", TINY, "--triton=http://foo:1"], "'--triton': 'http://foo:1' is not HOST:PORT"),
        (["serve", TINY, "--triton=foo:65536"], "'--triton': 'foo:65536' is not HOST:PORT"),
        (["serve", TINY, "--http-port=99999"], "'--http-port'"),
        (["serve", TINY, "--grpc-port=-1"], "'--grpc-port'"),
        (["serve", TINY, "--workers=0"], "'--workers'"),
        (["serve", TINY, "--max-model-len=0"], "'--max-model-len'"),
        (["serve", "--models=/nowhere"], "error: /nowhere"),
        (["up", "--http-port=99999"], "'--http-port'"),
        (["up", "--triton-grpc-port=99999"], "'--triton-grpc-port'"),
    ],
    ids=lambda value: " ".join(value).replace(TINY, "") if isinstance(value, list) else "",
)
def test_a_mistake_is_told_by_the_name_of_its_option(arguments: list[str], told: str) -> None:
    result = run(*arguments)

    assert told in result.output
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["serve", TINY, "--template=nope"], "there is no chat template 'nope'; known are"),
        (["serve", TINY, "--triton-ca=/nowhere"], "/nowhere"),
        (["serve", "--tokenizer=/"], "/tokenizer.json"),
        (["up", "--repository=/proc/nowhere/r"], "/proc/nowhere"),
    ],
    ids=["template", "certificates", "tokenizer", "repository"],
)
def test_a_mistake_that_is_found_at_start_is_told_in_a_line(
    arguments: list[str], told: str
) -> None:
    command = [sys.executable, "-m", "gateway", *arguments, "--http-port=0", "--grpc-port=0"]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"[" * 10_000, b"a: b: c", b"- 1", b"", b"models: []"],
    ids=["no text", "deep", "no YAML", "a list", "empty", "no models"],
)
def test_a_models_file_that_cannot_be_read_is_told_by_its_name(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "models.yaml"
    file.write_bytes(content)

    result = run("serve", f"--models={file}")

    assert f"error: {file}: " in result.output
    assert result.exit_code == 1


def test_the_version_is_told() -> None:
    assert run("--version").output == f"gateway {__version__}\n"


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        ("--http-port", "port"),
        ("--grpc-port", "grpc_port"),
        ("--host", "host"),
        ("--workers", "workers"),
    ],
)
def test_help_shows_the_default_of_a_setting(option: str, setting: str) -> None:
    default = Settings.model_fields[setting].default

    [line] = [line for line in run("serve", "--help").output.splitlines() if option in line]

    assert f"[default: ({default})]" in line


def test_a_model_is_called_as_its_repository_calls_it(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tensorrt_llm" / "tokenizer"
    tokenizer.mkdir(parents=True)
    model = "models: [{id: poet, tokenizer: tensorrt_llm/tokenizer}]"
    (tmp_path / "gateway.yaml").write_text(model)

    assert name_of(tokenizer) == "poet"
    assert name_of(tmp_path / "other") == "other"
