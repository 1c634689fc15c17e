"""How many tokens/s one gateway carries on a host with many cores, at the pace of a GPU.

Mock Tritons give every stream a token each 20 ms. More and more streams are opened, until the
gateway no longer hands on 98 % of the tokens; several worker counts are several series.

    python -m bench.scale --tokenizer DIR [--workers 1,4,8] [--streams 140,280,560] [--real]
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

from bench.lag import probing
from bench.machine import Machine
from bench.process import allow_many_connections, cpu_by_process
from bench.scale_results import ScaleResults, Step
from bench.stack import Setup, Stack, stack
from bench.wave import Share, Wave
from gateway.bench.figures import percentile

STREAMS = "140,280,560,840,1120,1680,2240,3360,4480"
"""560 streams of 20 ms are the 28,000 tokens/s of an H100 with Llama 3.1 8B in FP8."""

START_S = 1.5
SETTLE_S = 1.0
OPENED_PER_S = 250
"""New streams for each worker: prompts are to be no load of their own."""

TIMEOUT_S = 300


@dataclass(frozen=True)
class Usage:
    """CPU seconds used so far: by each of the gateway's processes, by Tritons, by clients."""

    gateway: dict[int, float]
    tritons: float
    clients: float

    @classmethod
    def now(cls, running: Stack, clients: Sequence[int]) -> "Usage":
        """Return what has been used up to now."""
        tritons, reading = (
            sum(sum(cpu_by_process(pid).values()) for pid in pids)
            for pids in (running.tritons, clients)
        )
        return cls(cpu_by_process(running.gateway), tritons, reading)

    def of_gateway_since(self, before: "Usage") -> list[float]:
        """Return what each process of the gateway has used since."""
        return [used - before.gateway.get(pid, 0) for pid, used in self.gateway.items()]


@dataclass(frozen=True)
class Bench:
    """A gateway under more and more streams, read by `clients` processes."""

    setup: Setup
    clients: int
    window_s: float

    def ramp(self, steps: Sequence[int]) -> Iterator[Step]:
        """Yield what came of each number of streams, up to the first that was too many."""
        with stack(self.setup) as running:
            self.step(running, steps[0])
            for streams in steps:
                step = self.step(running, streams)
                yield step
                if not step.keeps_up:
                    return

    def step(self, running: Stack, streams: int) -> Step:
        """Open so many streams; return what came of them."""
        wave = self._wave(running, streams)
        with reading(wave, self.clients) as clients:
            pids = [client.pid for client in clients]
            with probing(running.url, wave.begin_at - time.monotonic(), self.window_s) as lag_s:
                sleep_until(wave.begin_at)
                before = Usage.now(running, pids)
                sleep_until(wave.end_at)
                after = Usage.now(running, pids)
            shares = [answer_of(client) for client in clients]
        return self._step(streams, before, after, lag_s, shares)

    def _wave(self, running: Stack, streams: int) -> Wave:
        start_at = time.monotonic() + START_S
        ramp_s = max(1.0, streams / OPENED_PER_S / self.setup.workers)
        begin_at = start_at + ramp_s + SETTLE_S
        end_at = begin_at + self.window_s
        tokens = math.ceil((end_at + SETTLE_S - start_at) * 1000 / self.setup.pace_ms)
        return Wave(
            running.url, self.setup.models, 0, streams, tokens, start_at, ramp_s, begin_at, end_at
        )

    def _step(
        self,
        streams: int,
        before: Usage,
        after: Usage,
        lag_s: Sequence[float],
        shares: Sequence[Share],
    ) -> Step:
        gateway_s = after.of_gateway_since(before)
        tokens = sum(share.tokens for share in shares)
        all_tokens = sum(share.all_tokens for share in shares)
        gaps = sum((Counter(share.gaps) for share in shares), Counter[float]())
        gaps_ms, lag_ms = sorted(gaps.elements()), sorted(each * 1e3 for each in lag_s)
        return Step(
            workers=self.setup.workers,
            streams=streams,
            tokens_per_s_asked=streams * 1000 / self.setup.pace_ms,
            tokens_per_s=tokens / self.window_s,
            gateway_cores=sum(gateway_s) / self.window_s,
            busiest_worker_cores=max(gateway_s) / self.window_s,
            us_per_token=sum(gateway_s) * 1e6 / max(1.0, tokens),
            events_per_token=sum(share.all_events for share in shares) / max(1, all_tokens),
            gap_p50_ms=percentile(gaps_ms, 0.5),
            gap_p99_ms=percentile(gaps_ms, 0.99),
            lag_p50_ms=percentile(lag_ms, 0.5),
            lag_p99_ms=percentile(lag_ms, 0.99),
            triton_cores=(after.tritons - before.tritons) / self.window_s,
            client_cores=(after.clients - before.clients) / self.window_s,
            failures=[reason for share in shares for reason in share.failures],
        )


@contextmanager
def reading(wave: Wave, num_clients: int) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Run the processes that read the streams, each about as many; they end by themselves."""
    edges = [wave.streams * number // num_clients for number in range(num_clients + 1)]
    with ExitStack() as running:
        clients = []
        for first, end in pairwise(edges):
            share = replace(wave, first=first, streams=end - first)
            words = [sys.executable, "-m", "bench.wave", json.dumps(asdict(share))]
            clients.append(running.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE)))
        yield clients


def answer_of(client: "subprocess.Popen[bytes]") -> Share:
    """Wait for a client's end and return what it tells."""
    said, _ = client.communicate(timeout=TIMEOUT_S)
    if client.returncode:
        raise RuntimeError("a client failed: it has said why")
    return Share.of(json.loads(said))


def sleep_until(moment: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    time.sleep(max(0.0, moment - time.monotonic()))


def numbers(text: str) -> list[int]:
    """Return numbers that commas separate."""
    return [int(word) for word in text.split(",")]


def main() -> None:
    """Measure, print a line a step, write scale.json, scale.md and scale.svg."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with Llama 3.1's")
    parser.add_argument("--workers", type=numbers, default=[1], help="gateway processes")
    parser.add_argument("--streams", type=numbers, default=numbers(STREAMS), help="the steps")
    parser.add_argument("--tritons", type=int, default=2, help="each has a model of its own")
    parser.add_argument("--clients", type=int, default=2, help="processes that read the streams")
    parser.add_argument("--pace-ms", type=float, default=20)
    parser.add_argument("--window-s", type=float, default=4, help="what counts of each step")
    parser.add_argument("--real", action="store_true", help="tritonservers, of 64 streams each")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    allow_many_connections()
    told = {name: value for name, value in vars(given).items() if not isinstance(value, Path)}
    results = ScaleResults(Machine(), told)
    for workers in given.workers:
        tokenizer = given.tokenizer.resolve()
        setup = Setup(tokenizer, workers, given.tritons, given.pace_ms, given.real)
        for step in Bench(setup, given.clients, given.window_s).ramp(given.streams):
            print(step, flush=True)
            results.steps.append(step)
    results.machine.finish()
    results.write(given.output)


if __name__ == "__main__":
    main()
