"""All tests, ring after ring, as `make test` runs them: `python -m tests.rings`.

Unit tests have a core each. What runs servers mostly waits, so that twice as much as there are
cores goes side by side; what measures runs alone, at the end.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

SERVERS = ("tests/integration", "tests/e2e", "tests/faults")
MAX_PROCESSES = 8


def rings(cores: int) -> dict[str, Sequence[str]]:
    """Return what pytest is given for each ring, on so many cores."""
    unit, servers = (min(MAX_PROCESSES, number) for number in (cores, 2 * cores))
    beside = [f"--numprocesses={servers}", "--dist=loadgroup", "-m", "not alone"]
    return {
        "unit": [f"--numprocesses={unit}", "tests/unit"],
        "side by side": [*beside, *SERVERS],
        "alone": ["-m", "alone", *SERVERS],
    }


@dataclass(frozen=True)
class Outcome:
    """How a ring ended: pytest's status, counts of its tests, why some were skipped."""

    name: str
    status: int
    counts: Counter[str]
    skipped: Counter[str]
    seconds: float

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.items() if count)
        ending = "" if self.status == 0 else f", pytest ended with {self.status}"
        return f"{self.name}: {counts or 'no tests'} in {self.seconds:.0f} s{ending}"


def run(name: str, arguments: Sequence[str], folder: Path) -> Outcome:
    """Run a ring, telling its progress."""
    report = folder / f"{name}.xml"
    print(f"\n===== {name}: pytest {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments]
    status = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    return outcome(name, status, report.read_text() if report.exists() else "<testsuites/>")


def outcome(name: str, status: int, junit: str) -> Outcome:
    """Return what a report in JUnit's XML says of a ring."""
    root = ElementTree.fromstring(junit)
    counts: Counter[str] = Counter()
    for suite in root.iter("testsuite"):
        for what in ("tests", "failures", "errors", "skipped"):
            counts[what] += int(suite.attrib[what])
    return Outcome(
        name,
        status,
        counts,
        Counter(str(found.get("message")) for found in root.iter("skipped")),
        sum(float(suite.attrib["time"]) for suite in root.iter("testsuite")),
    )


def summary(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield lines about all rings: what ran, and what did not and why."""
    yield from map(str, outcomes)
    total = sum(one.counts["tests"] for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    yield f"{total} tests in {seconds / 60:.1f} minutes"
    for reason, count in sum((one.skipped for one in outcomes), Counter[str]()).items():
        yield f"skipped {count}: {reason}"


def main() -> int:
    """Run all rings; return the exit status."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="rings-") as folder:
        outcomes = [run(name, given, Path(folder)) for name, given in rings(cores).items()]
    print("\n===== all rings", *summary(outcomes), sep="\n")
    return max(one.status for one in outcomes)


if __name__ == "__main__":
    sys.exit(main())
