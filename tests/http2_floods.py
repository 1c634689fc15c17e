"""An attacker on raw sockets: `python -m tests.http2_floods FLOOD`, told when and where to.

Each flood is what it says once on a connection, and what it then says again and again. Who is cut
off connects again after a tenth of a second. Prints how much was sent, on how many connections.
"""

import random
import select
import socket
import sys
import time
import zlib
from collections.abc import Callable
from typing import NamedTuple

from hpack import Encoder

from gateway.http2 import frames
from gateway.http2.frames import ACK, END_HEADERS, END_STREAM, PREFACE, ErrorCode, Kind, Setting
from gateway.http2.messages import prefixed
from tests.http2 import block

METHOD = "/gateway.v1.TokenizeService/Tokenize"
CALL = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", METHOD),
    (":authority", "here"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)
CHUNK_BYTES = 2**20
PAUSE_S = 0.1
HELLO = PREFACE + frames.settings(())
CLOSE = frames.rst_stream(1, ErrorCode.CANCEL)


class Flood(NamedTuple):
    """What is said, on so many connections at once. `again` has an end where it opens streams."""

    opening: bytes
    again: bytes
    connections: int = 1
    ends: bool = False


def call(stream_id: int, *headers: tuple[str, str], flags: int = 0) -> bytes:
    return frames.frame(
        Kind.HEADERS, END_HEADERS | flags, stream_id, block(*CALL, *headers)
    )  # fmt: skip


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream_id.to_bytes(4, "big") + payload


def again(wire: bytes) -> bytes:
    return wire * (CHUNK_BYTES // len(wire))


def on_new_streams(make: Callable[[int], bytes], number: int = 4000) -> bytes:
    return b"".join(make(stream_id) for stream_id in range(3, 2 * number + 3, 2))


def closed(wire: bytes, connections: int = 1) -> Flood:
    """Frames of a stream that the client itself has closed."""
    return Flood(call(1) + CLOSE, again(wire), connections)


def crossed(wire: bytes) -> Flood:
    """Frames of a stream that the server has closed, as if they had crossed that."""
    return Flood(call(1) + frames.frame(Kind.DATA, 0, 1, b"\7" * 9), again(wire))


def gzip(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS + 16)
    packed = packer.compress(bytes(size)) + packer.flush()
    return b"\1" + prefixed(packed)[1:]


def bombs() -> bytes:
    """Return four calls each with half of a gzip bomb that never ends."""
    bomb = gzip(2**24 - 1000)[:-9]
    cuts = [bomb[at : at + 2**14] for at in range(0, len(bomb), 2**14)]
    return b"".join(
        call(id, ("grpc-encoding", "gzip"))
        + b"".join(frames.frame(Kind.DATA, 0, id, cut) for cut in cuts)
        for id in (1, 3, 5, 7)
    )


def half_messages() -> bytes:
    """Return calls that each hold the server to most of a message."""
    half = prefixed(bytes(random.Random(1).randbytes(200_000)))[:-9]
    cuts = [half[at : at + 2**14] for at in range(0, len(half), 2**14)]
    return on_new_streams(
        lambda id: call(id) + b"".join(frames.frame(Kind.DATA, 0, id, cut) for cut in cuts), 60
    )


def settings_of(count: int) -> bytes:
    return frames.settings([(Setting.INITIAL_WINDOW_SIZE, number) for number in range(count)])


HUFFMAN = Encoder().encode([*CALL, ("x-long", "y" * 15_000, True)])
FLOODS: dict[str, Callable[[], Flood]] = {
    "window updates": lambda: Flood(b"", again(frames.window_update(0, 1))),
    "priorities": lambda: Flood(b"", again(raw(2, 0, 1, bytes(5)))),
    "unknown frames": lambda: Flood(b"", again(raw(0xFA, 0, 0))),
    "unknown frames, 8 connections": lambda: Flood(b"", again(raw(0xFA, 0, 0)), 8),
    "pings": lambda: Flood(b"", again(raw(6, 0, 0, bytes(8)))),
    "answers to pings": lambda: Flood(b"", again(raw(6, ACK, 0, bytes(8)))),
    "settings": lambda: Flood(b"", again(frames.settings(()))),
    "settings of 1,024 streams": lambda: Flood(
        b"".join(call(id) for id in range(1, 2049, 2)), again(settings_of(2730))
    ),
    "empty data": lambda: Flood(call(1), again(raw(0, 0, 1))),
    "data byte by byte": lambda: Flood(call(1), again(raw(0, 0, 1, b"\0"))),
    "empty data after a reset, 8 connections": lambda: closed(raw(0, 0, 1), 8),
    "headers after a reset, huffman": lambda: closed(frames.headers(1, HUFFMAN)),
    "headers after a reset, 1,500 fields": lambda: closed(frames.headers(1, b"\x82" * 1500)),
    "headers that crossed, 1,500 fields": lambda: crossed(frames.headers(1, b"\x82" * 1500)),
    "header blocks without end": lambda: Flood(
        raw(1, 0, 1, block(*CALL)), again(raw(9, 0, 1, b"\0\1x\1y" * 3000))
    ),
    "calls given up": lambda: Flood(
        b"",
        on_new_streams(lambda id: call(id) + frames.rst_stream(id, ErrorCode.CANCEL)),
        ends=True,
    ),
    "calls given up once they run": lambda: Flood(
        b"",
        on_new_streams(
            lambda id: (
                call(id)
                + frames.frame(Kind.DATA, END_STREAM, id, prefixed(b""))
                + frames.rst_stream(id, ErrorCode.CANCEL)
            )
        ),
        ends=True,
    ),
    "resets made by wide windows": lambda: Flood(
        b"", on_new_streams(lambda id: call(id) + frames.window_update(id, 2**31 - 1)), ends=True
    ),
    "resets made by data after its end": lambda: Flood(
        b"", on_new_streams(lambda id: call(id, flags=END_STREAM) + raw(0, 0, id)), ends=True
    ),
    "deadlines of a nanosecond": lambda: Flood(
        b"", on_new_streams(lambda id: call(id, ("grpc-timeout", "1n"))), ends=True
    ),
    "40 KB of metadata": lambda: Flood(
        b"",
        on_new_streams(
            lambda id: frames.headers(id, block(*CALL) + b"\0\1x\x7f\xc1\xb7\2" + b"y" * 40_000),
            100,
        ),
        ends=True,
    ),
    "gzip bombs, 20 connections": lambda: Flood(bombs(), b"", 20),
    "half messages, 20 connections": lambda: Flood(b"", half_messages(), 20, ends=True),
}


class Attacker:
    """One connection, made again whenever it ends."""

    def __init__(self, port: int, flood: Flood) -> None:
        self._port, self._flood = port, flood
        self.sent = 0
        self.connections = 0
        self._socket = socket.socket()
        self._wire = memoryview(b"")
        self._connects_at = time.monotonic()

    def fileno(self) -> int:
        return self._socket.fileno()

    def push(self) -> None:
        """Say as much as goes at once, and read what was answered."""
        try:
            self._read()
            size = self._socket.send(self._wire) if self._wire else 0
        except BlockingIOError:
            return
        except OSError:
            self._socket.close()
            self._connects_at = time.monotonic() + PAUSE_S
            return
        self.sent += size
        self._wire = self._wire[size:]
        if not self._wire and not self._flood.ends:
            self._wire = memoryview(self._flood.again)

    def close(self) -> None:
        self._socket.close()

    def _read(self) -> None:
        try:
            while self._socket.recv(2**16):
                pass
            raise ConnectionResetError
        except BlockingIOError:
            return

    def is_connected(self) -> bool:
        """Tell whether there is a connection, making one if it is time."""
        if self._connects_at and time.monotonic() >= self._connects_at:
            self._connect()
        return not self._connects_at

    def _connect(self) -> None:
        self._connects_at = 0.0
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.setblocking(False)
        self._wire = memoryview(HELLO + self._flood.opening + self._flood.again)
        self.connections += 1


def flood_for(seconds: float, port: int, flood: Flood) -> list[Attacker]:
    """Flood for so long; with port 0, only keep as busy. Return who did."""
    ends_at = time.monotonic() + seconds
    attackers = [Attacker(port, flood) for _ in range(flood.connections if port else 0)]
    while time.monotonic() < ends_at:
        connected = [attacker for attacker in attackers if attacker.is_connected()]
        for attacker in select.select([], connected, [], 0)[1]:
            attacker.push()
    for attacker in attackers:
        attacker.close()
    return attackers


def main() -> None:
    """Flood as each line of the input says: to which port, and for how many seconds."""
    flood = FLOODS[sys.argv[1]]()
    print("ready", flush=True)
    for line in sys.stdin:
        port, seconds = line.split()
        done = flood_for(float(seconds), int(port), flood)
        print(sum(each.sent for each in done), sum(each.connections for each in done), flush=True)


if __name__ == "__main__":
    main()
