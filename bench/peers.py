"""Gateways of others, from PyPI, each in an environment that is thrown away afterwards.

Their workers are mocks too, in the protocol that each of them speaks.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.contenders import MODEL, Contender
from bench.cost import OPEN_PACE_MS, PACE_MS

MODELS = {pace_ms: f"{MODEL}-{pace_ms:g}" for pace_ms in (0.0, PACE_MS, OPEN_PACE_MS)}
SMG = ("smg==1.13.0", "smg-grpc-proto==0.4.28", "grpcio>=1.81", "uvloop>=0.21")

DYNAMO = ("ai-dynamo==1.6.1", "ai-dynamo-runtime==1.6.1")
# What it asks for, but for aisimulate: a stub that fetches its wheel from elsewhere, and that
# neither the frontend nor the mocker imports.
DYNAMO_NEEDS = (
    "aiohttp>=3.14.3", "certifi", "kubernetes>=32.0.1,<33", "msgspec>=0.19",
    "prometheus-client>=0.23.1,<1", "pydantic>=2.10.6,<=2.13.5", "pyzmq>=26", "redis>=6.2,<9",
    "tqdm>=4", "transformers>=4.56", "typing-extensions>=4.10", "uvloop>=0.21",
    "zstandard>=0.23,<1",
)  # fmt: skip


def smg(folder: Path) -> Contender:
    """Install SMG below a folder; return it before a mock vLLM worker."""
    python = _environment(folder / "smg", SMG)
    return Contender(
        "SMG 1.13.0 (Rust)",
        gateway=(
            str(python.with_name("smg")), "launch", "--host=127.0.0.1", "--port={port}",
            "--worker-urls=grpc://127.0.0.1:{worker}", "--model-path={tokenizer}",
            "--policy=round_robin", "--log-level=error", "--max-concurrent-requests=4096",
            "--prometheus-host=127.0.0.1", "--prometheus-port={metrics}",
        ),
        worker=(
            str(python), "-m", "bench.smg_worker", "--port={worker}", f"--model={MODEL}",
            "--tokenizer={tokenizer}",
        ),
    )  # fmt: skip


def dynamo(folder: Path) -> Contender:
    """Install Dynamo below a folder; return its frontend before its own mock workers."""
    home = folder / "dynamo"
    python = _environment(home, DYNAMO_NEEDS)
    _install(python, "--no-deps", *DYNAMO)
    return Contender(
        "Dynamo 1.6.1 (Rust)",
        gateway=(
            str(python), "-m", "dynamo.frontend", "--http-host=127.0.0.1", "--http-port={port}",
            "--discovery-backend=file", "--router-mode=round-robin",
        ),
        worker=(
            str(python), "-m", "bench.dynamo_worker", "--port={worker}", "--tokenizer={tokenizer}",
            *(f"--pace={model}={pace_ms}" for pace_ms, model in MODELS.items()),
        ),
        # Workers and frontend find each other in a folder; caches go to the home.
        environment={
            "DYN_FILE_KV": str(home / "workers-{worker}"),
            "DYN_LOG": "error",
            "HF_HUB_OFFLINE": "1",
            "HOME": str(home),
        },
        models=MODELS,
    )  # fmt: skip


def _environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """Make a virtual environment with packages; return its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    _install(python, *packages)
    return python


def _install(python: Path, *words: str) -> None:
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *words], check=True)


PEERS: dict[str, Callable[[Path], Contender]] = {"smg": smg, "dynamo": dynamo}
