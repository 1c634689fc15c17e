"""Where the replicas of a model are: named once, looked up by name, or read from a file."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from gateway.settings import check_address

log = structlog.get_logger(__name__)

LOOK_UP_S = 5.0
READ_S = 1.0
MAX_REPLICAS = 256
MAX_FILE_BYTES = 2**16


class Discovery(Protocol):
    """Something that knows the addresses of replicas, each HOST:PORT, and what becomes of them."""

    def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        """Yield all addresses: at once what is known, and again whenever there are others.

        What fails is told in the log, and changes nothing.
        """
        ...


class Listed:
    """Addresses that were named, and stay."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = tuple(dict.fromkeys(addresses))

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        yield self._addresses


class Polled:
    """Addresses that are looked at again and again; `look` raises OSError or ValueError."""

    every_s = READ_S

    async def look(self) -> Sequence[str]:
        """Return the addresses as they are now."""
        raise NotImplementedError

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        known: Sequence[str] | None = None
        said = ""
        while True:
            try:
                found, problem = sorted(set(await self.look()))[:MAX_REPLICAS], ""
            except (OSError, ValueError) as error:
                found, problem = [*(known or ())], str(error)
            if problem and problem != said:
                log.warning("replicas_not_found", where=str(self), problem=problem)
            said = problem
            if known is None or found != known:
                known = found
                yield found
            await asyncio.sleep(self.every_s)


class Resolved(Polled):
    """All addresses that a name has, looked up every five seconds."""

    every_s = LOOK_UP_S

    def __init__(self, name: str) -> None:
        self._name = name
        host, _, port = name.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)

    def __str__(self) -> str:
        return self._name

    async def look(self) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        return [_joined(str(address[0]), self._port) for *_, address in found]


class Filed(Polled):
    """Addresses in a file, one a line, read every second; # begins a comment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    async def look(self) -> Sequence[str]:
        return await asyncio.to_thread(read_addresses, self._path)


def read_addresses(path: Path) -> list[str]:
    """Return the addresses in a file. Raises OSError, or ValueError naming the line at fault."""
    with path.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise ValueError(f"{path} is longer than {MAX_FILE_BYTES} bytes")
    lines = raw.decode().splitlines()
    given = [(number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1)]
    found = []
    for number, address in given:
        if address:
            try:
                found.append(check_address(address))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    return found


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
