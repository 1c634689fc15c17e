"""A stream that ends before its first byte."""

from collections.abc import AsyncGenerator

import pytest

from gateway.errors import GatewayError
from gateway.http.sse import event_stream


class Unwritable:
    """Frames that cannot be rendered."""

    def __init__(self) -> None:
        self.is_closed = False
        self.steps = self._steps()

    async def _steps(self) -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            self.is_closed = True

    def render(self, step: int) -> bytes:
        raise ZeroDivisionError(step)

    def end(self) -> bytes:
        return b""

    def fail(self, error: GatewayError) -> bytes:
        return b""


async def test_what_cannot_be_written_ends_its_generation() -> None:
    frames = Unwritable()

    with pytest.raises(ZeroDivisionError):
        await event_stream(frames, keep_alive_s=15, drain_s=30)

    assert frames.is_closed
