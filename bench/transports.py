"""What each of the gateway's transports to Triton costs: grpc.aio and our own HTTP/2 client.

Two gateways, alike but for GATEWAY_TRANSPORT, stand before one Triton: first a mock, then a real
tritonserver with the simulated engine. Rounds alternate; figures are medians.

    python -m bench.transports --tokenizer DIR
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.contenders import CONTENDERS, MODEL, Running, before
from bench.cost import measure
from bench.load import Load
from bench.machine import Machine
from bench.process import free_port, process
from bench.triton import simulated_triton

TRANSPORTS = tuple(each for each in CONTENDERS if "GATEWAY_TRANSPORT" in each.environment)
PACE_S = 0.02
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Case:
    """A load, and how fast the engine goes: `pace_s` seconds a token."""

    name: str
    pace_s: float
    streams: int
    tokens: int
    stream: bool = True
    rounds: int = 1

    def load(self, url: str) -> Load:
        return Load(url, MODEL, self.streams, self.tokens, self.rounds, self.stream)

    @property
    def units(self) -> int:
        """What the cost is divided by: tokens, or whole answers."""
        return self.streams * self.rounds * (self.tokens if self.stream else 1)


CASES = (
    Case("32 streams of 20 ms, a token", PACE_S, 32, 256),
    Case("64 streams of 20 ms, a token", PACE_S, 64, 128),
    Case("32 streams flat out, a token", 0, 32, 256),
    Case("whole answers of 64 tokens, each", 0, 32, 64, stream=False, rounds=10),
)


@dataclass(frozen=True)
class Result:
    """A case on one Triton with one transport: the gateway's CPU microseconds, by round."""

    triton: str
    case: str
    transport: str
    cpu_us: list[float]
    first_token_ms: list[float]

    @property
    def median_us(self) -> float:
        return statistics.median(self.cpu_us)


@contextmanager
def mock_triton(_: Path, __: Path, pace_s: float) -> Iterator[int]:
    """Run the mock; yield its port."""
    port = free_port()
    with process("bench.mock_triton", f"--port={port}", f"--pace-ms={pace_s * 1000}"):
        yield port


TRITONS = {"mock": mock_triton, "tritonserver": simulated_triton}


def compare(triton: str, case: Case, tokenizer: Path, rounds: int) -> list[Result]:
    """Return what a case costs with each transport."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        worker = stack.enter_context(TRITONS[triton](folder, tokenizer, case.pace_s))
        gateways = [stack.enter_context(before(each, worker, tokenizer)) for each in TRANSPORTS]
        results = [Result(triton, case.name, each.name, [], []) for each in TRANSPORTS]
        for gateway in gateways:
            _run(case.load(gateway.url), gateway)
        for number in range(rounds):
            pairs = list(zip(results, gateways, strict=True))
            for result, gateway in pairs if number % 2 else reversed(pairs):
                cpu_s, _ = _run(case.load(gateway.url), gateway)
                result.cpu_us.append(round(cpu_s * 1e6 / case.units, 1))
                _, first_s = _run(Load(gateway.url, MODEL, 1, 2, rounds=15), gateway)
                result.first_token_ms.append(round(statistics.median(first_s) * 1e3, 2))
        return results


def _run(load: Load, gateway: Running) -> tuple[float, list[float]]:
    cpu_s, outcome = measure(load, gateway.pid)
    if outcome.failures:
        raise RuntimeError(f"{len(outcome.failures)} streams failed: {outcome.failures[0]}")
    return cpu_s, outcome.first_token_s


def show(theirs: Result, ours: Result) -> None:
    """Print one case's line."""
    print(
        f"{ours.triton:12} {ours.case:33} {theirs.median_us:7.1f} -> {ours.median_us:7.1f} us"
        f" ({ours.median_us / theirs.median_us - 1:+.0%})  {theirs.cpu_us} {ours.cpu_us}"
        f"  first token {statistics.median(theirs.first_token_ms):.2f} ->"
        f" {statistics.median(ours.first_token_ms):.2f} ms",
        flush=True,
    )


def main() -> None:
    """Measure all, print a line a case, write bench/results/transports.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    machine, results = Machine(), list[Result]()
    for triton in TRITONS:
        for case in CASES:
            results += compare(triton, case, options.tokenizer, options.rounds)
            show(*results[-2:])
    machine.finish()
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": asdict(machine), "results": [asdict(each) for each in results]}
    (RESULTS / "transports.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
