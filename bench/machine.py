"""What the figures were measured on, in words that fit any machine: no names, no paths."""

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path


def cpu_model() -> str:
    """Return the processor's name as Linux knows it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@dataclass
class Machine:
    """A machine, and how busy it was besides: its load average over a minute, before and after."""

    cpu: str = field(default_factory=cpu_model)
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    python: str = field(default_factory=platform.python_version)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    load_after: float = 0.0

    def finish(self) -> None:
        """Note the load average at the end of the run."""
        self.load_after = os.getloadavg()[0]

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, Python {self.python}; load average "
            f"{self.load_before:.1f} before, {self.load_after:.1f} after (the run makes its own)"
        )
