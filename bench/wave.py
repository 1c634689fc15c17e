"""One process's share of a wave of streams: opened one after another, all open for a while.

Most streams are read ten times a second only, several events at once, so that many can be read
on few cores; a few are watched, and tell the pauses between events.

    python -m bench.wave JSON
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.client import DONE, EVENT, LAST_CHUNK, TAIL_BYTES, address, post, tokens_in
from bench.load import Load

NUM_WATCHED = 32
TURN_S = 0.01
TURNS = 10
"""A stream that is not watched is read once in so many turns."""

LATE_S = 60.0
READ_BYTES = 2**16


@dataclass(frozen=True)
class Wave:
    """Streams of `tokens` each, opened within `ramp_s`; what counts lies between two moments.

    Moments are of the monotonic clock, which all processes of a machine share. `first` is the
    number of the first stream among those of all processes.
    """

    url: str
    models: Sequence[str]
    first: int
    streams: int
    tokens: int
    start_at: float
    ramp_s: float
    begin_at: float
    end_at: float

    def opens_at(self, number: int) -> float:
        """Return when a stream of this process is to be opened."""
        return self.start_at + self.ramp_s * number / self.streams

    def request(self, number: int) -> bytes:
        """Return what to ask for a stream of this process."""
        model = self.models[(self.first + number) % len(self.models)]
        body = Load(self.url, model, 1, self.tokens).body(self.first + number)
        return post(self.url, body)

    def is_watched(self, number: int) -> bool:
        """Tell whether a stream of this process is read as soon as anything comes."""
        return number % max(1, self.streams // NUM_WATCHED) == 0

    def counts(self, moment: float) -> bool:
        """Tell whether a moment lies in the time that counts."""
        return self.begin_at <= moment < self.end_at


@dataclass(frozen=True)
class Share:
    """What came of it: `tokens` and `gaps`, pauses in ms, between the two moments alone."""

    tokens: float
    all_tokens: int
    all_events: int
    gaps: dict[float, int]
    failures: list[str]

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Share":
        """Read what a process has told in JSON."""
        gaps = {float(gap): count for gap, count in told["gaps"].items()}
        return cls(**{**told, "gaps": gaps})


class Stream:
    """A stream on a connection of its own, as far as it has been read."""

    def __init__(self, url: str, request: bytes) -> None:
        self.socket = socket.create_connection(address(url))
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self.events = 0
        self.first_at = self.last_at = 0.0
        self.failure = "no end in time"
        self.is_open = True
        self._tail = b""

    def read(self, now: float) -> float:
        """Take what has come; return how long after what came before, 0 for the first events."""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return 0.0
        except OSError as error:
            self._close(repr(error))
            return 0.0
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        events, before = data.count(EVENT), self.last_at
        if events:
            self.events += events
            self.first_at = self.first_at or now
            self.last_at = now
        if not data or self._tail.endswith(LAST_CHUNK):
            is_whole = DONE in self._tail
            self._close("" if is_whole else f"cut short: {str(self._tail[:300], 'latin-1')}")
        return now - before if events and before else 0.0

    @property
    def tokens(self) -> int:
        """What the usage at the end tells."""
        return tokens_in(self._tail)

    def tokens_within(self, wave: Wave) -> float:
        """Return how many tokens came in the time that counts, spread evenly over the life."""
        life_s = max(self.last_at - self.first_at, 1e-6)
        counted_s = min(self.last_at, wave.end_at) - max(self.first_at, wave.begin_at)
        return (self.tokens - 1) * max(0.0, counted_s) / life_s

    def _close(self, failure: str) -> None:
        self.socket.close()
        self.failure = failure
        self.is_open = False


class Reader:
    """Opens the streams of a wave when they are due and reads them to their end."""

    def __init__(self, wave: Wave) -> None:
        self.streams: list[Stream] = []
        self.gaps: Counter[float] = Counter()
        self._wave = wave
        self._watched = selectors.DefaultSelector()
        self._others: list[list[Stream]] = [[] for _ in range(TURNS)]

    def run(self) -> None:
        """Return when all have ended, or it is too late."""
        turn, due = 0, time.monotonic()
        while time.monotonic() < self._wave.end_at + LATE_S:
            due += TURN_S
            while (left_s := due - time.monotonic()) > 0:
                self._watch(left_s)
            self._open()
            turn = (turn + 1) % TURNS
            others = [stream for stream in self._others[turn] if stream.is_open]
            self._others[turn] = others
            for stream in others:
                stream.read(time.monotonic())
            if len(self.streams) == self._wave.streams and not self._is_reading:
                return

    @property
    def _is_reading(self) -> bool:
        return bool(self._watched.get_map()) or any(self._others)

    def _open(self) -> None:
        now, number = time.monotonic(), len(self.streams)
        while number < self._wave.streams and self._wave.opens_at(number) <= now:
            stream = Stream(self._wave.url, self._wave.request(number))
            self.streams.append(stream)
            if self._wave.is_watched(number):
                self._watched.register(stream.socket, selectors.EVENT_READ, stream)
            else:
                self._others[number % TURNS].append(stream)
            number += 1

    def _watch(self, left_s: float) -> None:
        for key, _ in self._watched.select(left_s):
            stream: Stream = key.data
            now = time.monotonic()
            gap_s = stream.read(now)
            if gap_s and self._wave.counts(now):
                self.gaps[round(gap_s * 1e3, 1)] += 1
            if not stream.is_open:
                self._watched.unregister(key.fileobj)


def read(wave: Wave) -> Share:
    """Read all streams of a wave."""
    reader = Reader(wave)
    reader.run()
    whole = [stream for stream in reader.streams if not stream.failure]
    return Share(
        tokens=sum(stream.tokens_within(wave) for stream in whole),
        all_tokens=sum(stream.tokens for stream in whole),
        all_events=sum(stream.events for stream in whole),
        gaps=dict(reader.gaps),
        failures=[stream.failure for stream in reader.streams if stream.failure],
    )


if __name__ == "__main__":
    print(json.dumps(asdict(read(Wave(**json.loads(sys.argv[1]))))))
