"""Every command and every program in the documentation is run, or it is said here why not."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.settings import load_models_file
from tests.e2e.conftest import Stack

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONNECTS = ROOT / "docs/clients.md"  # its lines are held against the scripts that are run

# How a command begins, and why it is not run here.
LEFT_OUT = {
    "make ": "it is what runs this test, or takes minutes",
    "pip install": "the wheel's test installs it",
    "python -m bench": "it takes minutes, and tells figures of an idle machine",
    "export ": "it prepares what is left out",
    "docker ": "there is no Docker here",
    "curl -N --retry": "it waits for containers",
    "gateway serve": "it serves until it is stopped; tests/unit/test_workers.py and others run it",
    "build-engine build": "it needs a GPU and weights; tests/integration/test_build_pipeline.py",
    "build-engine verify": "it reads what the build makes",
    "build-engine check": "it reads what the build makes",
    "build-engine tune": "it reads a trace of one's own",
    "build-engine tokenizer": "it reads Meta's file; tests/unit/test_build_tokenizer.py",
    "build-engine repository": "it names folders of one's own",
    "gateway keys rotate": "it names a key of one's own",
    "gateway keys revoke": "it names a key of one's own",
    "gateway usage --by": "it names a models file of one's own",
    "python3 -m venv vllm": "it fetches gigabytes",
    "gateway up --engine vllm": "there is no GPU here; tests/live runs it where there is one",
    "VLLM/python": "there is no GPU here",
    "LIVE_HTTP=": "there is no GPU here",
    "build-engine plan llama-3.1-8b-h100-fp8 --gpu auto": "there is no GPU here",
}
# What makes a command as short as a test may be; nothing of what it shows is left away.
SHORTER = {"gateway bench": " --requests 2 --concurrency 1 --max-tokens 2 --prompt-tokens 64"}


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    """Yield the blocks of a language, with what to call them."""
    for page in PAGES:
        for number, (language, text) in enumerate(BLOCK.findall(page.read_text())):
            if language == kind and page != CONNECTS:
                yield f"{page.name} {number}", text


def commands() -> Iterator[tuple[str, str]]:
    for name, text in blocks("sh"):
        for line in joined(text):
            yield f"{name}: {line[:50]}", line


def joined(text: str) -> list[str]:
    """Return the commands of a block, without comments."""
    lines = re.sub(r"\s+\\\n\s*", " ", text)
    whole = re.sub(r"\n(?=[^\n]*'[^']*$)", " ", lines) if lines.count("'") % 2 else lines
    parts: list[str] = []
    for line in whole.splitlines():
        if parts and parts[-1].count("'") % 2:
            parts[-1] += "\n" + line
        else:
            parts.append(line)
    return [re.sub(r"\s+#\s.*$", "", part) for part in parts if part.strip()]


def here(text: str, stack: Stack) -> str:
    """Return a text with this stack's addresses and model in place of those of the documents."""
    return (
        text.replace("http://127.0.0.1:8080", stack.url)
        .replace("127.0.0.1:8081", stack.grpc)
        .replace("smollm2-135m-instruct", stack.model)
        .replace('user("Hi")', 'user("What is the capital of France?")')  # which the script knows
    )


@pytest.mark.parametrize("command", [pytest.param(text, id=name) for name, text in commands()])
def test_a_command_does_what_it_is_there_for(scripted: Stack, command: str, tmp_path: Path) -> None:
    if any(command.startswith(beginning) for beginning in LEFT_OUT):
        return
    program = shlex.split(command)[0]
    if shutil.which(program, path=f"{Path(sys.executable).parent}:/usr/bin:/bin") is None:
        pytest.skip(f"there is no {program} here")
    shorter = next((more for start, more in SHORTER.items() if command.startswith(start)), "")

    ended = subprocess.run(
        ["bash", "-ec", here(command, scripted) + shorter],
        cwd=tmp_path,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout or ended.stderr


@pytest.mark.parametrize(
    "program", [pytest.param(text, id=name) for name, text in blocks("python")]
)
def test_a_program_says_something(scripted: Stack, program: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", here(program, scripted)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


def test_the_models_file_of_the_readme_can_be_read(tmp_path: Path) -> None:
    [text] = [text for name, text in blocks("yaml") if name.startswith("README")]
    path = tmp_path / "models.yaml"
    path.write_text(text)

    assert load_models_file(path).models[0].aliases == ("gpt-4o",)
