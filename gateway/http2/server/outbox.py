"""What a server's end is to send: responses, message by message, each stream in its turn."""

import struct

from gateway.http2 import frames
from gateway.http2.messages import PREFIX_BYTES, prefixed
from gateway.http2.outbox import Outbox
from gateway.http2.server.stream import ServerStream

MAX_UNFLUSHED_BYTES = 2**16
"""What streams may say before the loop gets to write it."""

# A DATA frame's header, and after it a message's prefix.
_FRAME_AND_PREFIX = struct.Struct(">IBIBI")


class Responses(Outbox[ServerStream]):
    """Bytes for the client."""

    def __init__(self) -> None:
        super().__init__(last_flags=0)
        self.num_messages = 0
        self.num_blocks = 0
        self.drained: list[ServerStream] = []

    @property
    def num_sent(self) -> int:
        """Tell how many messages and headers there were."""
        return self.num_messages + self.num_blocks

    def send(self, stream: ServerStream, message: bytes) -> bool:
        """Send a message, at once if windows allow; else False, and it waits.

        It has left when `drained` names its stream.
        """
        self.num_messages += 1
        size = PREFIX_BYTES + len(message)
        if (
            size > stream.send_window
            or size > self._window
            or size > self.frame_bytes
            or len(self._out) > MAX_UNFLUSHED_BYTES
            or self.is_paused
            or stream.id in self._unsent
        ):
            stream.body = memoryview(bytes(stream.body) + prefixed(message))
            self.add_body(stream.id, stream)
            return False
        stream.send_window -= size
        self._window -= size
        head = _FRAME_AND_PREFIX.pack(size << 8, 0, stream.id, 0, size - PREFIX_BYTES)
        self._out += head
        self._out += message
        return True

    def begin(self, stream: ServerStream, block: bytes) -> None:
        """Send the headers of a response."""
        self.num_blocks += 1
        stream.has_begun = True
        self.add(frames.headers(stream.id, block))

    def finish(self, stream: ServerStream) -> None:
        """End a response of which nothing waits."""
        self.num_blocks += 1
        self.add(stream.ending)

    def _send(self, stream_id: int, stream: ServerStream) -> None:
        super()._send(stream_id, stream)
        if stream_id not in self:
            self.drained.append(stream)
