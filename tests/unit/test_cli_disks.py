"""What a disk refuses is told in a line by both command lines, and before anything is measured."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

import build_engine.cli
import gateway.cli
from gateway import __version__
from tests.fakes import tiny_tokenizer

CONVERSATION = '{"messages": [{"role": "user", "content": "Hi"}]}'
PREVIEW = ["gateway", "render", "-", f"--tokenizer={tiny_tokenizer()}", "--json"]


@pytest.mark.parametrize(
    "command", [PREVIEW, ["build_engine", "specs"]], ids=["gateway", "build-engine"]
)
def test_a_full_disk_behind_standard_output_is_told(command: list[str]) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", *command],
            input=CONVERSATION,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(option: str) -> None:
    asked_nobody = "http://127.0.0.1:9"

    result = CliRunner().invoke(gateway.cli.app, ["bench", asked_nobody, option, "/proc/nowhere"])

    assert result.exit_code == 1
    assert "/proc/nowhere" in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    "command",
    [["repository", "--engine=llmapi", "--output=x"], ["build", "llama-3.2-1b", "--dry-run"]],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("address", ["foo", "foo:http", "http://foo:1", "foo:65536", "foo:0"])
def test_an_address_that_is_none_is_told_by_its_option(command: list[str], address: str) -> None:
    result = CliRunner().invoke(build_engine.cli.app, [*command, f"--triton={address}"])

    assert result.exit_code == 2
    assert "--triton" in result.output
    assert address in result.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host=" + "a" * 70], "--host"),
        (["--host=192.0.2.1"], "--host"),
        (["--http-port=1", "--host=127.0.0.1"], "--http-port"),
    ],
    ids=["no name", "not ours", "taken"],
)
def test_what_cannot_be_bound_is_told_with_the_option_to_change(
    options: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = [one.replace("port=1", f"port={taken.getsockname()[1]}") for one in options]

        result = CliRunner().invoke(
            gateway.cli.app,
            ["serve", f"--tokenizer={tiny_tokenizer()}", "--grpc-port=0", "--open", *options],
        )

    assert result.exit_code == 1
    assert "cannot listen on" in result.output
    assert told in result.output


def test_both_tell_their_version() -> None:
    result = CliRunner().invoke(build_engine.cli.app, ["--version"])

    assert result.output == f"build-engine {__version__}\n"


def test_a_shell_completes_the_names_of_specs() -> None:
    result = CliRunner().invoke(
        build_engine.cli.app,
        [],
        prog_name="build-engine",
        env={
            "_BUILD_ENGINE_COMPLETE": "complete_bash",
            "COMP_WORDS": "build-engine plan llama-3.2",
            "COMP_CWORD": "2",
        },
    )

    assert result.output.split() == ["llama-3.2-1b", "llama-3.2-3b"]
