"""The clients that people use, each in an environment of its own, against the running stack."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack

CLIENTS = Path(__file__).parent / "clients"
CACHE = Path(
    os.environ.get("GATEWAY_CLIENTS_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "triton-openai-gateway")
)
ENVIRONMENT = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}


def run_client(stack: Stack, *command: str | Path) -> None:
    """Run a client's script, which fails where an answer is not what it should be."""
    ended = subprocess.run(
        [*command, f"{stack.url}/v1", stack.model],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_openai_for_python(scripted: Stack) -> None:
    run_client(scripted, sys.executable, CLIENTS / "openai_python.py")


@pytest.mark.parametrize(
    ("script", "requirements"),
    [
        ("openai_python.py", "requirements-openai-2.txt"),
        ("openai_agents_client.py", "requirements-openai-3.txt"),
        ("langchain_client.py", "requirements-openai-3.txt"),
        ("instructor_client.py", "requirements-openai-3.txt"),
        ("pydantic_ai_client.py", "requirements-openai-3.txt"),
        ("litellm_client.py", "requirements-openai-2.txt"),
        ("llama_index_client.py", "requirements-openai-2.txt"),
    ],
)
def test_clients_for_python(scripted: Stack, script: str, requirements: str) -> None:
    run_client(scripted, python_with(requirements), CLIENTS / script)


@pytest.mark.skipif(not shutil.which("npm"), reason="there is no Node here, nor its npm")
@pytest.mark.parametrize("script", ["openai.mjs", "ai_sdk.mjs"])
def test_clients_for_node(scripted: Stack, script: str) -> None:
    modules = node_modules()
    shutil.copy(CLIENTS / "node" / script, modules)

    run_client(scripted, "node", modules / script)


def python_with(requirements: str) -> Path:
    """Return the interpreter of a virtual environment with these packages."""
    folder = cached(CLIENTS / requirements, f"{sys.version_info}", make_environment)
    return folder / "bin/python"


def make_environment(folder: Path, requirements: Path) -> None:
    """Let uv install, which takes a thirtieth of pip's CPU time; pip where it can not."""
    uv, index = Path(sys.executable).with_name("uv"), os.environ.get("PIP_INDEX_URL")
    environment = {**os.environ, "VIRTUAL_ENV": str(folder)}
    if index:
        environment.setdefault("UV_DEFAULT_INDEX", index)
    wanted = ["install", "--quiet", "--require-hashes", "-r", str(requirements)]
    venv.create(folder)
    if not uv.exists() or subprocess.run([uv, "pip", *wanted], env=environment).returncode:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([folder / "bin/python", "-m", "pip", *wanted], check=True)


def node_modules() -> Path:
    """Return a folder with the packages that the scripts for Node import."""
    return cached(CLIENTS / "node/package-lock.json", "", install_node_packages)


def install_node_packages(folder: Path, lock: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copy(lock, folder)
    shutil.copy(lock.with_name("package.json"), folder)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True)


def cached(source: Path, variant: str, make: Callable[[Path, Path], None]) -> Path:
    """Return the folder made from a list of packages, made anew when the list changes."""
    digest = hashlib.sha256(source.read_bytes() + variant.encode()).hexdigest()[:16]
    folder = CACHE / f"{source.stem}-{digest}"
    complete = folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, source)
        complete.touch()
    return folder
