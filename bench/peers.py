"""Gateways of others, from PyPI, each in an environment that is thrown away afterwards.

Their workers are mocks too, in the protocol that each of them speaks.
"""

import subprocess
import sys
from pathlib import Path

from bench.contenders import MODEL, Contender

SMG = ("smg==1.13.0", "smg-grpc-proto==0.4.28", "grpcio>=1.81", "uvloop>=0.21")


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


def _environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """Make a virtual environment with packages; return its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *packages], check=True)
    return python
