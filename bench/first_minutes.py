"""How long a newcomer waits: the README followed to the letter, in a clone with an empty home.

    python -m bench.first_minutes            # cold: everything is fetched
    python -m bench.first_minutes --warm     # then once more, with what the first time left behind

Prints the commands that were typed and the seconds to the first token.
"""

import argparse
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE_S = 900


def main() -> None:
    """Follow the README once, and with --warm twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--warm", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone, home = Path(folder, "clone"), Path(folder, "home")
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        home.mkdir()
        for name in ("cold", "warm") if options.warm else ("cold",):
            print(f"{name}: {follow(clone, home)}", flush=True)


def follow(clone: Path, home: Path) -> str:
    """Type what the README says, and return what came of it."""
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    environment.pop("VIRTUAL_ENV", None)
    log = home / "serve.log"
    began = time.monotonic()
    with serving(clone, environment, log):
        line = printed_curl(log)
        served_s = time.monotonic() - began
        first_s, answer = first_token(line, began)
    return (
        f"2 commands (make serve, curl); served after {served_s:.1f} s, first token after "
        f"{first_s:.1f} s; it said {answer!r}"
    )


@contextmanager
def serving(clone: Path, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run `make serve`, as the README has it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "serve"],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)


def printed_curl(log: Path) -> str:
    """Return the line to paste, once it is printed."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if found := re.search(r"^curl -N .*$", log.read_text(errors="replace"), re.MULTILINE):
            return found[0]
        time.sleep(0.1)
    raise SystemExit(f"nothing was served:\n{log.read_text(errors='replace')[-4000:]}")


def first_token(line: str, began: float) -> tuple[float, str]:
    """Paste it; return the seconds to the first token, and the whole answer."""
    seconds, words = 0.0, []
    with subprocess.Popen(
        ["bash", "-c", line], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as curl:
        assert curl.stdout
        for event in curl.stdout:
            for word in re.findall(r'"content":\s*"((?:[^"\\]|\\.)*)"', event):
                if word:
                    seconds = seconds or time.monotonic() - began
                    words.append(word)
    return seconds, "".join(words)


if __name__ == "__main__":
    main()
