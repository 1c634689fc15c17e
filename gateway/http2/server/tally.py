"""How many calls there were, on one connection or on all of a server."""

import time
from dataclasses import dataclass


@dataclass
class Tally:
    """Calls begun, and how they ended; `last_started` is in seconds since the epoch."""

    started: int = 0
    succeeded: int = 0
    failed: int = 0
    last_started: float = 0.0

    def start(self) -> None:
        """Count a call that begins."""
        self.started += 1
        self.last_started = time.time()

    def end(self, is_ok: bool) -> None:
        """Count a call that ends."""
        self.succeeded += is_ok
        self.failed += not is_ok
