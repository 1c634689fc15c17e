"""What each of the gateway's transports to Triton costs: grpc.aio and our own HTTP/2 client.

Two gateways, alike but for GATEWAY_TRANSPORT, stand before one Triton: first a mock, then a real
tritonserver with the simulated engine. Rounds alternate; figures are medians.

    python -m bench.transports --tokenizer DIR
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cost import free_port, measure, process, rss_mib, wait_ready
from bench.load import Load
from build_engine.repository import RepositorySpec, build
from gateway.embedded import TritonServer

TRANSPORTS = ("grpc", "http2")
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
        return Load(url, "bench", self.streams, self.tokens, self.rounds, self.stream)


CASES = (
    Case("32 streams, 20 ms", PACE_S, 32, 256),
    Case("64 streams, 20 ms", PACE_S, 64, 128),
    Case("32 streams, flat", 0, 32, 256),
    Case("32 whole answers of 64 tokens", 0, 32, 64, stream=False, rounds=10),
)


@dataclass(frozen=True)
class Result:
    """One case on one Triton with one transport, a figure a round.

    CPU is of the gateway: microseconds per token, or per whole answer.
    """

    triton: str
    case: str
    transport: str
    cpu_us: list[float]
    first_token_ms: list[float]
    rss_mib: float

    @property
    def median_us(self) -> float:
        return statistics.median(self.cpu_us)


@contextlib.contextmanager
def mock_triton(pace_s: float) -> Iterator[str]:
    """Run the mock; yield its address."""
    port = free_port()
    with process("bench.mock_triton", f"--port={port}", f"--pace-ms={pace_s * 1000}"):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def tritonserver(pace_s: float) -> Iterator[str]:
    """Run a real tritonserver with the simulated engine; yield its address."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.json")
        endless = {"contains": "", "answer": "", "end": "limit"}
        script.write_text(json.dumps({"answers": [endless], "cost": {"step_s": pace_s}}))
        repository = build(RepositorySpec("simulated", Path(folder, "models"), script=script))
        with TritonServer(repository.path, log_file=Path(folder, "log")) as server:
            server.wait_ready(60)
            yield server.grpc_address


TRITONS = {"mock": mock_triton, "tritonserver": tritonserver}


@contextlib.contextmanager
def gateway(triton: str, tokenizer: Path, transport: str) -> Iterator[tuple[str, int]]:
    """Run a gateway; yield its URL and process id."""
    port = free_port()
    os.environ |= {"GATEWAY_LOG_LEVEL": "warning", "GATEWAY_TRANSPORT": transport}
    with process(
        "gateway", "serve", f"--triton={triton}", f"--tokenizer={tokenizer}",
        "--model-id=bench", f"--http-port={port}", "--grpc-port=0",
    ) as child:  # fmt: skip
        wait_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}", child.pid


def compare(triton: str, case: Case, tokenizer: Path, rounds: int) -> list[Result]:
    """Return what a case costs with each transport."""
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(TRITONS[triton](case.pace_s))
        gateways = [stack.enter_context(gateway(address, tokenizer, name)) for name in TRANSPORTS]
        results = []
        for name, (url, pid) in zip(TRANSPORTS, gateways, strict=True):
            measure(Load(url, "bench", case.streams, 16, stream=case.stream), pid)
            results.append(Result(triton, case.name, name, [], [], rss_mib(pid)))
        for number in range(rounds):
            pairs = list(zip(results, gateways, strict=True))
            for result, (url, pid) in pairs if number % 2 else reversed(pairs):
                _round(result, case, url, pid)
        return results


def _round(result: Result, case: Case, url: str, pid: int) -> None:
    load = case.load(url)
    cpu_s, outcome = measure(load, pid)
    assert not outcome.failed, f"{outcome.failed} streams failed"
    units = load.total_tokens if case.stream else load.streams * load.rounds
    result.cpu_us.append(round(cpu_s * 1e6 / units, 1))
    alone = [measure(Load(url, "bench", 1, 2), pid)[1].first_token_s[0] for _ in range(10)]
    result.first_token_ms.append(round(statistics.median(alone) * 1e3, 2))


def show(results: list[Result]) -> None:
    """Print one case's line."""
    ours, theirs = results[1], results[0]
    saved = 1 - ours.median_us / theirs.median_us
    print(
        f"{ours.triton:12} {ours.case:30} grpc {theirs.median_us:7.1f} us  "
        f"http2 {ours.median_us:7.1f} us  saved {saved:5.1%}  "
        f"rounds {theirs.cpu_us} {ours.cpu_us}  first token of one stream, ms "
        f"{statistics.median(theirs.first_token_ms)} {statistics.median(ours.first_token_ms)}",
        flush=True,
    )


def main() -> None:
    """Measure all, print a line a case, write bench/results/transports.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results = []
    for triton in TRITONS:
        for case in CASES:
            results += compare(triton, case, options.tokenizer, options.rounds)
            show(results[-2:])
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": machine, "results": [asdict(result) for result in results]}
    (RESULTS / "transports.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
