"""What keys, limits, usage and admission cost: CPU of a request and of a token, with and without.

Requests go to the application as a server would hand them over, over a scripted engine: so nothing
of a network is in the figures, and all of the gateway's own work is.

    python -m bench.traffic [--redis redis://127.0.0.1:6379/0] [--requests 2000] [--rounds 5]
"""

import argparse
import asyncio
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from gateway.app import create_app
from gateway.models import Models
from gateway.openai.application import Application
from gateway.settings import Settings
from gateway.telemetry.logs import configure_logs
from gateway.traffic.admission import Admission
from gateway.traffic.gate import Capacity
from tests.fakes import FakeEngine, stop, text, tiny_model
from tests.keys import add_key

PATH = "/v1/chat/completions"
AT_ONCE = 32
STREAMS, TOKENS = 32, 400
LIMITS = {
    "requests_per_minute": 10**9,
    "tokens_per_minute": 10**9,
    "concurrent_requests": 10**6,
}


class Driver:
    """Asks an application, as a server does, and takes its answer."""

    def __init__(self, app: Application, key: str) -> None:
        self._app = app
        self._headers = [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"authorization", f"Bearer {key}".encode()),
        ]

    async def ask(self, body: bytes) -> int:
        """Return the status of an answer."""
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        status = 0

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        await self._app(self._scope(), receive, send)
        return status

    def _scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "headers": self._headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "scheme": "http",
        }


async def cpu_us(driver: Driver, body: bytes, number: int) -> float:
    """Return the CPU of one request, in microseconds, of so many."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with turn:
            status = await driver.ask(body)
            if status != 200:
                raise SystemExit(f"an answer had status {status}")

    began = time.process_time()
    await asyncio.gather(*(one() for _ in range(number)))
    return (time.process_time() - began) * 1e6 / number


async def figures(
    settings: Settings, key: str, is_gated: bool, requests: int
) -> tuple[float, float]:
    """Return the CPU of a whole request, and of a token of a stream, in microseconds."""
    script = [text("Hello"), stop()]
    model = tiny_model(FakeEngine(script))
    if is_gated:
        admission = Admission(256, 30)
        admission.capacity = lambda: Capacity(requests=1000, tokens=10**9)
        object.__setattr__(model, "admission", admission)
    app = create_app(settings, Models([model]))
    async with app.reception.open(settings):
        driver = Driver(app, key)
        whole = _body(stream=False)
        await cpu_us(driver, whole, requests // 4)
        a_request = await cpu_us(driver, whole, requests)
        model.engine.script = [*[text("x")] * TOKENS, stop()]  # type: ignore[attr-defined]
        a_stream = await cpu_us(driver, _body(stream=True), STREAMS)
    return a_request, a_stream / TOKENS


def _body(*, stream: bool) -> bytes:
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": "tiny", "messages": messages, "max_tokens": TOKENS, "stream": stream}
    return json.dumps(body).encode()


def cases(folder: Path, redis: str) -> dict[str, tuple[Settings, str, bool]]:
    """Return what is compared: settings, a key, whether there is a gate."""
    file = folder / "keys.yaml"
    plain, limited = add_key(file, "plain"), add_key(file, "limited", limits=LIMITS)
    state = folder / "state"
    given = {
        "open, nothing counted": (Settings(usage="off"), "", False),
        "keys": (Settings(keys_file=file, usage="off"), plain, False),
        "keys, limits": (Settings(keys_file=file, usage="off"), limited, False),
        "keys, limits, usage, gate": (Settings(keys_file=file, state_dir=state), limited, True),
    }
    if redis:
        given["the same, limits in Redis"] = (
            Settings(keys_file=file, state_dir=state, redis=redis, redis_timeout_s=5),
            limited,
            True,
        )
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, in rounds that alternate, and print the least: what disturbs only adds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--redis", default="")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    configure_logs("error", "json")
    logging.disable(logging.INFO)
    with TemporaryDirectory() as folder:
        given = cases(Path(folder), options.redis)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in given}
        for _ in range(options.rounds):
            for name, (settings, key, is_gated) in given.items():
                found[name].append(uvloop.run(figures(settings, key, is_gated, options.requests)))
    base = [min(one[n] for one in next(iter(found.values()))) for n in (0, 1)]
    for name, rounds in found.items():
        request, token = (min(one[n] for one in rounds) for n in (0, 1))
        print(
            f"{name:28} {request:7.1f} us a request ({request - base[0]:+6.1f}), "
            f"{token:6.2f} us a token ({token - base[1]:+5.2f})"
        )


if __name__ == "__main__":
    main()
