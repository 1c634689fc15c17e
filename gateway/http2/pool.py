"""As few connections to one server as its limits allow, opened when needed and again when lost."""

import asyncio
import math
import ssl

from gateway.http2.headers import call_block
from gateway.http2.status import Code, Status, StatusError
from gateway.http2.transport import Transport

CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0
FIRST_BACKOFF_S = 0.05
MAX_BACKOFF_S = 2.0


class Pool:
    """Connections for calls to the method at `path` of the server at `address`, a HOST:PORT.

    They are encrypted where there is a `tls` context, which must offer HTTP/2; `server_name` is
    what the certificate is to name where that is not the host.

    A server that refuses connections, or drops them before anything came of a call, is not asked
    again for a while that grows with every try; calls in that time fail at once.
    """

    def __init__(
        self, address: str, path: str, tls: ssl.SSLContext | None = None, server_name: str = ""
    ) -> None:
        self.block = call_block("https" if tls else "http", address, path)
        self._tls = tls
        self._server_name = server_name if tls else ""
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._transports: list[Transport] = []
        self._connecting: asyncio.Task[None] | None = None
        self._failure: Status | None = None
        self._num_failures = 0
        self._retry_at = 0.0
        self.num_connected = 0

    @property
    def num_connections(self) -> int:
        return len(self._transports)

    def available(self) -> Transport | None:
        """Return a connection with room for a call; use it before anything else runs."""
        return next((each for each in self._transports if each.can_open), None)

    async def connect(self) -> None:
        """Open one more connection, together with all who wait for one. Raises StatusError."""
        loop = asyncio.get_running_loop()
        if self._connecting is None and loop.time() >= self._retry_at:
            self._connecting = loop.create_task(self._connect())
        if self._connecting:
            await asyncio.wait([self._connecting])
        if self._failure:
            raise StatusError(self._failure)

    def retry_now(self) -> None:
        """Ask the server again at the next call, unless the pool was closed."""
        if self._retry_at < math.inf:
            self._retry_at = 0.0

    async def close(self) -> None:
        """End all connections; calls still open, and all later ones, fail."""
        self._fail("the connection was closed", math.inf)
        if self._connecting:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        transports = tuple(self._transports)
        for transport in transports:
            transport.close()
        if transports:
            await asyncio.wait([each.lost for each in transports], timeout=CLOSE_TIMEOUT_S)
        for transport in transports:
            transport.abort()

    async def _connect(self) -> None:
        try:
            await asyncio.wait_for(self._open(), CONNECT_TIMEOUT_S)
        except (OSError, StatusError, asyncio.TimeoutError) as error:
            self._back_off(f"no connection to {self._host}:{self._port}: {error!r}")
        finally:
            self._connecting = None

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        _, transport = await loop.create_connection(
            lambda: Transport(self._transports),
            self._host,
            self._port,
            ssl=self._tls,
            server_hostname=self._server_name or None,
        )
        try:
            await transport.ready
            if not transport.can_open:
                raise StatusError(Status(Code.UNAVAILABLE, "the server takes no calls"))
        except BaseException:
            transport.abort()
            raise
        # Before anything can be told of its loss: a failure that were forgotten after that would
        # let callers ask for a connection again and again, and nothing else run meanwhile.
        self._failure, self._retry_at = None, 0.0
        self.num_connected += 1
        transport.lost.add_done_callback(lambda _: self._lose(transport))

    def _lose(self, transport: Transport) -> None:
        if transport.has_served:
            self._num_failures = 0
        elif self._retry_at < math.inf:
            self._back_off(f"{self._host}:{self._port} drops its connections")

    def _back_off(self, reason: str) -> None:
        self._num_failures += 1
        self._fail(reason, min(FIRST_BACKOFF_S * 2**self._num_failures, MAX_BACKOFF_S))

    def _fail(self, reason: str, delay_s: float) -> None:
        self._failure = Status(Code.UNAVAILABLE, reason)
        self._retry_at = asyncio.get_running_loop().time() + delay_s
