"""Log lines: what goes where when nobody reads, and what never reaches a terminal."""

import io
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import structlog

from gateway.telemetry.logs import MAX_VALUE_CHARS, SinkHandler, configure_logs
from gateway.telemetry.sink import MAX_WAITING_BYTES, Sink


@dataclass
class Pipe:
    """A pipe as standard error: its reader, and what was told of lost lines."""

    reader: int
    writer: int
    lost: list[int] = field(default_factory=list)

    def read(self, num_bytes: int) -> bytes:
        """Return so many bytes; waits for them."""
        got = b""
        while len(got) < num_bytes:
            got += os.read(self.reader, num_bytes - len(got))
        return got


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writer = os.pipe()
    yield Pipe(reader, writer)
    os.close(reader)
    os.close(writer)


def test_lines_wait_for_a_reader_up_to_a_bound_and_the_rest_is_counted(pipe: Pipe) -> None:
    sink = Sink(pipe.writer, pipe.lost.append)
    line = b"a" * 999 + b"\n"
    num_lines = 2 * (MAX_WAITING_BYTES + 2**16) // len(line)

    for _ in range(num_lines):
        sink.write(line)
    kept = pipe.read(MAX_WAITING_BYTES)
    sink.write(b"last\n")
    rest = b""
    while not rest.endswith(b"last\n"):
        rest += os.read(pipe.reader, 65536)
    sink.flush()

    lines = (kept + rest).split(b"\n")[:-2]
    assert set(lines) == {line[:-1]}
    assert sum(pipe.lost) == num_lines - len(lines)


def test_a_line_longer_than_a_pipe_arrives_whole(pipe: Pipe) -> None:
    sink = Sink(pipe.writer, pipe.lost.append)
    line = os.urandom(200_000)

    sink.write(line)

    assert pipe.read(len(line)) == line


def test_writing_does_not_make_the_callers_own_descriptor_non_blocking(pipe: Pipe) -> None:
    Sink(pipe.writer, pipe.lost.append)

    assert os.get_blocking(pipe.writer)


@pytest.mark.parametrize("kind", ["full", "closed"])
def test_where_nothing_can_be_written_nothing_fails(kind: str) -> None:
    fd = os.open("/dev/full", os.O_WRONLY) if kind == "full" else os.dup(0)
    if kind == "closed":
        os.close(fd)
    sink = Sink(fd, lambda _: None)

    sink.write(b"a\n")
    sink.flush(0)


def rendered(log_format: str, **fields: object) -> str:
    """Return the line that a logged event becomes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure_logs("info", log_format)
        [handler] = root.handlers
        assert isinstance(handler, SinkHandler)
        out = io.StringIO()
        catcher = logging.StreamHandler(out)
        catcher.setFormatter(handler.formatter)
        root.handlers[:] = [catcher]
        structlog.get_logger("test").info("request", **fields)
        return out.getvalue()
    finally:
        root.handlers[:], root.level = handlers, level
        structlog.reset_defaults()


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_control_character_of_a_caller_is_written(log_format: str) -> None:
    every = "".join(map(chr, range(0x20))) + "\x7f\x9b\u2028\u202e\ud800é"

    line = rendered(log_format, path=every)

    assert all(char.isprintable() for char in line.removesuffix("\n"))


def test_nor_by_way_of_an_exception() -> None:
    try:
        raise ValueError("a\x1b[31mb\nc")
    except ValueError:
        line = rendered("console", exc_info=True)

    assert "\x1b" not in line
    assert "ValueError: a\\x1b[31mb\nc" in line


def test_a_value_is_cut() -> None:
    line = rendered("json", path="a" * 10 * MAX_VALUE_CHARS)

    assert MAX_VALUE_CHARS < len(line) < 2 * MAX_VALUE_CHARS
