"""The server's end of a connection, without its socket: bytes in, events and bytes out."""

import time
from collections.abc import Callable

from gateway.http2 import frames
from gateway.http2.frames import END_STREAM, MAX_WINDOW, ErrorCode, Kind
from gateway.http2.server.intake import Intake
from gateway.http2.server.metadata import Metadata, begin_block, end_block
from gateway.http2.server.stream import ServerStream
from gateway.http2.server.streams import DRAIN_PING
from gateway.http2.status import Status

_ALIVE_PING = b"alive??\n"


class ServerConnection(Intake):
    """A connection of a client: what it says, and what is said to it."""

    def __init__(self, max_message_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(max_message_bytes, clock)
        self.send = self._responses.send

    @property
    def is_over(self) -> bool:
        """Tell whether the client was told to leave and every call has ended."""
        return self._last_id < MAX_WINDOW and not self._streams

    def is_open(self, stream: ServerStream) -> bool:
        """Tell whether something of a call is still to be received or sent."""
        return stream.id in self._streams

    def heaviest(self) -> ServerStream | None:
        """Return the call that makes us hold most."""
        return max(self._streams.values(), key=lambda stream: stream.num_held, default=None)

    def begin(self, stream: ServerStream, metadata: Metadata) -> None:
        """Send the headers of a response, with the metadata."""
        self._responses.begin(stream, begin_block(metadata))

    def finish(self, stream: ServerStream, status: Status, metadata: Metadata) -> None:
        """End a call, after all that still waits of it."""
        block = end_block(status, metadata, has_begun=stream.has_begun)
        stream.ending = frames.headers(stream.id, block, END_STREAM)
        if stream.id not in self._outbox:
            self._close(stream)

    def cut(self, stream: ServerStream, status: Status) -> None:
        """End a call at once; what still waits of it is not sent."""
        self._outbox.drop_body(stream.id)
        self.finish(stream, status, ())

    def expire(self, stream: ServerStream, status: Status) -> None:
        """Cut a call off whose time is up. Raises ProtocolError for too many in no time."""
        self._charge(stream)
        self.cut(stream, status)

    def refuse(self, stream: ServerStream, status: Status) -> None:
        """Cut a call off that asks for what there is not. Raises ProtocolError for too many."""
        self._patience.nuisance()
        self.cut(stream, status)

    def read(self, stream: ServerStream, num_bytes: int) -> None:
        """Note that a message of so many bytes was read, so that others may follow it."""
        if stream.id in self._streams:
            self.num_held -= stream.num_held
            stream.read(num_bytes)
            self.num_held += stream.num_held
            self._credit(stream)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._outbox.add(frames.frame(Kind.PING, 0, 0, _ALIVE_PING))

    def drain(self) -> None:
        """Ask the client to leave; calls that are on their way are still taken."""
        self._outbox.add(frames.goaway(ErrorCode.NO_ERROR, "", MAX_WINDOW))
        self._outbox.add(frames.frame(Kind.PING, 0, 0, DRAIN_PING))

    def data_to_send(self) -> bytes:
        """Return what is to be sent, once."""
        data = super().data_to_send()
        ended = [stream for stream in self._responses.drained if stream.ending]
        if not ended:
            return data
        for stream in ended:
            self._close(stream)
        return data + super().data_to_send()

    def take_drained(self) -> list[ServerStream]:
        """Return the streams of which nothing waits any more, once."""
        drained, self._responses.drained = self._responses.drained, []
        return drained

    def _close(self, stream: ServerStream) -> None:
        if self._forget(stream.id):
            self._responses.finish(stream)
            if not stream.is_half_closed:
                self._reset(stream.id, ErrorCode.NO_ERROR)
