"""How long a request says that its answer may take: in all, to its first token, between tokens."""

import re
from collections.abc import Mapping

import msgspec

from gateway.errors import InvalidRequest
from gateway.origin import origin

TOTAL = "x-request-timeout-ms"
FIRST_TOKEN = "x-first-token-timeout-ms"
BETWEEN_TOKENS = "x-token-timeout-ms"

MILLISECONDS = re.compile(r"0*[1-9][0-9]{0,8}", re.ASCII)
MAX_CHARS = 16


def note_deadlines(headers: Mapping[str, str]) -> None:
    """Note, beside where the current request comes from, until when it is to be answered.

    The first two count from its arrival. Raises InvalidRequest for what is no number of
    milliseconds.
    """
    if not (TOTAL in headers or FIRST_TOKEN in headers or BETWEEN_TOKENS in headers):
        return
    came = origin.get()
    origin.set(
        msgspec.structs.replace(
            came,
            deadline=min(came.deadline, came.arrived + _seconds(headers, TOTAL)),
            first_token_by=came.arrived + _seconds(headers, FIRST_TOKEN),
            token_timeout_s=_seconds(headers, BETWEEN_TOKENS),
        )
    )


def _seconds(headers: Mapping[str, str], name: str) -> float:
    """Return what a header gives, no end without it."""
    given = headers.get(name)
    if given is None:
        return float("inf")
    if len(given) > MAX_CHARS or not MILLISECONDS.fullmatch(given):
        raise InvalidRequest(f"'{name}' must be milliseconds, 1 to 999999999.", param=name)
    return int(given) / 1000
