"""What callers may ask of a server, and how much of it they may take up."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

HELD_MESSAGES = 16
"""Of the largest size, of all clients together: unfinished, or waiting to be read."""


@dataclass(frozen=True)
class Limits:
    """`body_timeout_s` is for a request to come whole, `call_timeout_s` for its answer to leave;
    `on_cut_off` is told of each that was not read by then."""

    max_message_bytes: int
    body_timeout_s: float = 30.0
    call_timeout_s: float = math.inf
    max_connections: int = 1024
    on_cut_off: Callable[[], None] = field(default=lambda: None, compare=False)

    @property
    def max_held_bytes(self) -> int:
        return HELD_MESSAGES * self.max_message_bytes
