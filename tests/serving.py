"""Gateways on real sockets, over a scripted engine: in this process, or in one of its own."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gateway.app import create_app
from gateway.http.server import HttpServer, http_config
from gateway.http.tls import use_tls
from gateway.models import Models
from gateway.openai.errors import error_response
from gateway.server import listen, url_of
from gateway.settings import Settings
from tests.fakes import FakeEngine, tiny_model

ROOT = Path(__file__).parents[1]
PATIENCE_S = 20


@asynccontextmanager
async def serving(engine: FakeEngine, settings: Settings) -> AsyncIterator[str]:
    """Serve the engine on a free port; yield the URL."""
    app = create_app(settings, Models([tiny_model(engine)]))
    config = http_config(app, settings, error_response)
    use_tls(config, settings)
    with closing(listen("127.0.0.1", 0)) as listener:
        listener.listen()
        server = HttpServer(config, app.under_way, settings.drain_s, _no_others)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            await running


async def _no_others(_: float) -> None:
    """Stop nothing else."""


@dataclass(frozen=True)
class Answer:
    """A response as it came over the wire, to the end of the connection."""

    raw: bytes

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return [
            (name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)
        ]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def error(self) -> Any:
        return json.loads(self.body)["error"]

    def all(self, name: str) -> list[str]:
        """Return the values of every header of that name."""
        return [value for given, value in self.headers if given == name]


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def said_to(url: str, *parts: bytes) -> Answer:
    """Send bytes to the server; return what came until it closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return Answer(await asyncio.wait_for(reader.read(), PATIENCE_S))
    finally:
        writer.close()


def post(path: str, body: Any, *headers: str, version: str = "1.1", close: bool = True) -> bytes:
    """Return the bytes of a POST of JSON, with the connection's end asked for."""
    raw = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(raw)}",
        *(["Connection: close"] if close else []),
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + raw


@dataclass(frozen=True)
class GatewayProcess:
    """A running gateway of its own process."""

    process: "subprocess.Popen[bytes]"
    url: str
    grpc_address: str

    def wait_hanging(self, number: int) -> None:
        """Return once so many answers more hang."""
        assert self.process.stdout
        assert [self.process.stdout.readline() for _ in range(number)] == [b"hangs\n"] * number

    def said(self) -> str:
        """Return all of its log; waits for its end."""
        stderr = self.process.stderr
        return stderr.read().decode() if stderr else ""


@contextmanager
def gateway_process(
    *prefix: str, stderr: int | IO[bytes] = subprocess.PIPE, **environment: str
) -> Iterator[GatewayProcess]:
    """Run tests/fake_gateway.py, behind a command if one is given."""
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "tests.fake_gateway"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "GATEWAY_PORT": "0", "GATEWAY_GRPC_PORT": "0", **environment},
    )
    try:
        assert process.stdout
        url, grpc_address = json.loads(process.stdout.readline())
        yield GatewayProcess(process, url, grpc_address)
    finally:
        process.kill()
        process.communicate()
