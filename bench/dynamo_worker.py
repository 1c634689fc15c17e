"""Dynamo's own mock workers, one for each pace, with a model of its own each.

Runs in the throwaway environment of that package; imports nothing else of this project. Listens
on a port once the workers have been started, and answers nothing there.
"""

import argparse
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

MAX_STREAMS = 4096


def profile(folder: Path, pace_ms: float) -> Path:
    """Write how long a step takes: the same at any load, and prompts take no time."""
    path = folder / f"{pace_ms:g}.npz"
    np.savez(
        path,
        prefill_isl=[0.0, 8192.0],
        prefill_ttft_ms=[0.0, 0.0],
        decode_active_kv_tokens=[0.0, 1e8],
        decode_context_length=[1.0, 8192.0],
        decode_itl=[[pace_ms] * 2] * 2,
    )
    return path


def words(model: str, pace_ms: float, tokenizer: str, folder: Path) -> list[str]:
    """Return the command of one worker, which has room for every stream."""
    pace = f"--planner-profile-data={profile(folder, pace_ms)}" if pace_ms else "--speedup-ratio=0"
    return [
        sys.executable, "-m", "dynamo.mocker", f"--model-path={tokenizer}",
        f"--model-name={model}", f"--endpoint=dyn://bench.{model}.generate",
        "--discovery-backend=file", f"--max-num-seqs={MAX_STREAMS}",
        "--max-num-batched-tokens=1000000", "--num-gpu-blocks-override=100000",
        "--no-enable-prefix-caching", pace,
    ]  # fmt: skip


@contextmanager
def process(command: list[str]) -> Iterator[None]:
    """Run a command while the block lasts."""
    child = subprocess.Popen(command)
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def main() -> None:
    """Run the workers until a signal says stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--pace", action="append", required=True, help="MODEL=MILLISECONDS")
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        for pace in options.pace:
            model, _, pace_ms = pace.partition("=")
            command = words(model, float(pace_ms), options.tokenizer, folder)
            running.enter_context(process(command))
        listener = running.enter_context(socket.create_server(("127.0.0.1", options.port)))
        listener.listen()
        stop.wait()


if __name__ == "__main__":
    main()
