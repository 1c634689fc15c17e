"""Servers that many tests share: started again if they die, and their deaths told at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.embedded.tritonserver import TritonServer
from gateway.embedded.watch import Watch

DEATHS: list[str] = []
"""What was told of the deaths of shared servers, for the end of the test run."""

_READY: list[Callable[[], bool]] = []
_PATIENCE_S = 120


@contextmanager
def lasting(server: TritonServer) -> Iterator[TritonServer]:
    """Run a server that outlives its own deaths."""
    with server:
        server.wait_ready(_PATIENCE_S)
        with Watch(server, DEATHS.append), awaited(server.is_ready):
            yield server


@contextmanager
def awaited(is_ready: Callable[[], bool]) -> Iterator[None]:
    """Let every test that begins meanwhile wait until a server is ready."""
    _READY.append(is_ready)
    try:
        yield
    finally:
        _READY.remove(is_ready)


def await_servers() -> None:
    """Return when all servers that are shared now are ready."""
    deadline = time.monotonic() + _PATIENCE_S
    while not all(is_ready() for is_ready in _READY):
        assert time.monotonic() < deadline, "\n".join(["a shared server stays away", *DEATHS])
        time.sleep(0.1)
