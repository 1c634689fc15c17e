"""What a caller's request brings along all the way to Triton: its deadline, its ids. Ambient."""

import math
import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from secrets import token_hex

import msgspec
import structlog

REQUEST_ID = "x-request-id"
TRACE_CONTEXT = ("traceparent", "tracestate")
"""W3C Trace Context, which goes on to Triton as it came."""

SESSIONS = ("x-claude-code-session-id", "session-id", "x-session-id")
"""Headers by which agents tell which conversation a request belongs to."""

ACCEPTABLE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)
PRINTABLE = re.compile(r"[\x20-\x7e]{1,512}")


class Origin(msgspec.Struct, frozen=True):
    """Where a request comes from, when, and until when it is to be answered.

    Its times are on `time.monotonic`'s clock.
    """

    deadline: float = math.inf
    metadata: tuple[tuple[str, str], ...] = ()
    session: str = ""
    arrived: float = msgspec.field(default_factory=time.monotonic)
    first_token_by: float = math.inf
    token_timeout_s: float = math.inf

    def timeout_s(self, limit: float | None) -> float | None:
        """Return the seconds that are left, `limit` at most; None where neither is set."""
        left = max(0.0, self.deadline - time.monotonic())
        if limit is not None:
            left = min(left, limit)
        return None if left == math.inf else left


origin: ContextVar[Origin] = ContextVar("origin", default=Origin())  # noqa: B039
"""The origin of the request that the current task works for."""


def new_id() -> str:
    """Return an id for a request that brought none."""
    return token_hex(16)


def arrive(headers: Mapping[str, str], deadline: float = math.inf) -> str:
    """Note where the current task's request comes from; return its id, the caller's if it is sane.

    From here on the id is in every log line, and with the trace context on its way to Triton.
    """
    given = headers.get(REQUEST_ID, "")
    request_id = given if ACCEPTABLE_ID.fullmatch(given) else new_id()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    metadata = [(REQUEST_ID, request_id)]
    for name in TRACE_CONTEXT:
        value = headers.get(name)
        if value and PRINTABLE.fullmatch(value):
            metadata.append((name, value))
    sessions = (headers.get(name, "") for name in SESSIONS)
    session = next((one for one in sessions if PRINTABLE.fullmatch(one)), "")
    origin.set(Origin(deadline, tuple(metadata), session))
    return request_id
