"""Structured logs: one line an event, the request's id in each, never a prompt or a key.

Writing them never waits, and what a caller wrote cannot command a terminal that shows them.
"""

import io
import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo

from gateway.telemetry.sink import Sink

log = structlog.get_logger(__name__)

STDERR = 2
MAX_VALUE_CHARS = 1000
TRACEBACKS = ("exception", "stack")
"""Fields that are many lines, made here."""


def configure_logs(level: str, log_format: str, worker: int | None = None) -> None:
    """Send every log line, the libraries' too, to standard error in one format.

    Those of one worker of several bear its number.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        cache_logger_on_first_use=True,
    )
    handler = SinkHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([_numbered(worker)] if worker else []),
                *_renderers(log_format),
            ],
        )
    )
    root = logging.getLogger()
    for replaced in root.handlers:
        replaced.close()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def flush_logs() -> None:
    """Wait a little for lines that wait to be read: a signal may end the process next."""
    for handler in logging.getLogger().handlers:
        handler.flush()


class SinkHandler(logging.Handler):
    """Hands lines to standard error's sink, and tells of those that were lost."""

    def __init__(self) -> None:
        super().__init__()
        self._sink = Sink(STDERR, lambda number: log.warning("log_lines_lost", lines=number))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
        else:
            self._sink.write(line.encode(errors="backslashreplace") + b"\n")

    def flush(self) -> None:
        """Wait a little for what waits; `logging` calls this when the interpreter ends."""
        self._sink.flush()


def _bounded(_: Any, __: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARS and name not in TRACEBACKS:
            event[name] = value[:MAX_VALUE_CHARS] + "..."
    return event


def _plain(logger: Any, method: str, event: EventDict) -> EventDict:
    """Bound values, and spell out what does not print: most lines have neither."""
    for value in event.values():
        if isinstance(value, str) and (len(value) > MAX_VALUE_CHARS or not value.isprintable()):
            break
    else:
        return event
    _bounded(logger, method, event)
    for name, value in event.items():
        if isinstance(value, str) and name not in TRACEBACKS:
            event[name] = escaped(value)
    return event


def escaped(text: str, but: str = "") -> str:
    """Return the text with every character that does not print, `but` for some, spelt out."""
    return "".join(
        char if char.isprintable() or char in but else ascii(char)[1:-1] for char in text
    )


def _traceback(out: TextIO, error: ExcInfo) -> None:
    plain = io.StringIO()
    # One with local variables would show prompts.
    structlog.dev.plain_traceback(plain, error)
    out.write(escaped(plain.getvalue(), but="\n\t"))


def _numbered(worker: int) -> structlog.typing.Processor:
    def add_number(_: Any, __: str, event: EventDict) -> EventDict:
        return {**event, "worker": worker}

    return add_number


def _renderers(log_format: str) -> list[structlog.typing.Processor]:
    if log_format == "json":
        return [
            _bounded,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    return [
        _plain,
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback),
    ]
