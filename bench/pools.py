"""What replicas cost: a choice among 64, and a token with 64 beside one with one.

With --before DIR, a token is also measured with the gateway of another checkout, one replica. All
stand before one mock Triton; rounds alternate, figures are medians of the gateway's CPU.

    python -m bench.pools [--rounds 7] [--before DIR]
"""

import argparse
import asyncio
import shlex
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.__main__ import llama_tokenizer
from bench.contenders import MODEL, QUIET, Running, wait_answering
from bench.cost import measure
from bench.load import Load
from bench.machine import Machine
from bench.process import allow_many_connections, command, free_port, process, wait_listening
from gateway.triton.policies import POLICIES
from gateway.triton.prefixes import Prefixes, marks_of
from gateway.triton.replica import Replica
from gateway.triton.replicas import Replicas
from gateway.triton.tensors import int32s
from gateway.triton.work import Work

NUM_REPLICAS = 64
STREAMS, TOKENS, PACE_MS = 64, 128, 20.0
PROMPT_TOKENS, TURN_TOKENS, END = 8192, 256, 128009


@dataclass(frozen=True)
class Place:
    """A gateway by its source, and how many replicas it has."""

    name: str
    folder: Path
    num_replicas: int


class NoChannel:
    """Where nothing is sent."""

    address = "127.0.0.1:1"

    def retry_now(self) -> None:
        """There is no connection."""


async def choice_us() -> dict[str, float]:
    """Return the microseconds of a choice by policy, and of knowing a prompt by its prefixes."""
    prompt = [END if at % TURN_TOKENS == 0 else at for at in range(1, PROMPT_TOKENS + 1)]
    packed = int32s(prompt)
    marks = marks_of(packed, [END])
    work = Work(PROMPT_TOKENS, 100, marks, "session")
    figures = {"knowing a prompt of 8,192 tokens": _us(lambda: int32s(prompt))}
    figures["knowing a prompt of 8,192 tokens"] += _us(lambda: marks_of(packed, [END]))
    for policy in POLICIES:
        replicas = Replicas(policy)
        for number in range(NUM_REPLICAS):
            replica = Replica(NoChannel(), "m")  # type: ignore[arg-type]
            replicas.add(replica)
            replica.load.add(number * 37 % 64 * 100, number * 13 % 64, calls=1)
        prefixes: Prefixes = replicas._prefixes
        for number in range(NUM_REPLICAS):
            prefixes.note(number + 1, marks[number % len(marks) :], "", PROMPT_TOKENS)
        route = replicas.route(work)
        figures[policy] = _us(lambda replicas=replicas, route=route: replicas.choose(route))
    return figures


def _us(call: object) -> float:
    times = timeit.repeat(call, timer=time.process_time, number=1000, repeat=7)  # type: ignore[arg-type]
    return min(times) * 1e3


@contextmanager
def standing(place: Place, worker: int, tokenizer: Path) -> Iterator[Running]:
    """Run a gateway while the block lasts."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log, models = Path(folder, "log"), Path(folder, "models.yaml")
        addresses = [f"127.0.0.{number}:{worker}" for number in range(1, place.num_replicas + 1)]
        triton = {"address": addresses[0]} if len(addresses) == 1 else {"addresses": addresses}
        model = {"id": MODEL, "tokenizer": str(tokenizer), "triton": triton}
        models.write_text(yaml.safe_dump({"models": [model]}))
        gateway = [sys.executable, "-m", "gateway", "serve", f"--models={models}"]
        gateway += [f"--http-port={port}", "--grpc-port=0"]
        words = ["sh", "-c", f"cd {shlex.quote(str(place.folder))}; exec {shlex.join(gateway)}"]
        with command(words, QUIET, log) as child:
            wait_listening(port, child, log)
            url = f"http://127.0.0.1:{port}"
            wait_answering(url, MODEL, log)
            yield Running(url, child.pid, addresses[0])


def token_us(places: list[Place], rounds: int, tokenizer: Path) -> dict[str, list[float]]:
    """Return the CPU microseconds of a token in each round."""
    worker = free_port()
    found: dict[str, list[float]] = {place.name: [] for place in places}
    mock = ("bench.fast_triton", f"--port={worker}", f"--pace-ms={PACE_MS}")
    with ExitStack() as stack:
        stack.enter_context(process(*mock, f"--addresses={NUM_REPLICAS}"))
        gateways = [stack.enter_context(standing(each, worker, tokenizer)) for each in places]
        pairs = list(zip(places, gateways, strict=True))
        for number in range(-1, rounds):  # the first warms up
            for place, gateway in pairs if number % 2 else reversed(pairs):
                load = Load(gateway.url, MODEL, STREAMS, TOKENS)
                cpu_s, outcome = measure(load, gateway.pid)
                if outcome.failures:
                    raise RuntimeError(outcome.failures[0])
                if number >= 0:
                    found[place.name].append(round(cpu_s * 1e6 / outcome.tokens, 1))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", type=Path, help="another checkout of this repository")
    options = parser.parse_args()
    allow_many_connections()
    machine = Machine()
    for name, microseconds in asyncio.run(choice_us()).items():
        print(f"{name}: {microseconds:.1f} us", flush=True)
    here = Path(__file__).parents[1]
    places = [Place("1 replica", here, 1), Place(f"{NUM_REPLICAS} replicas", here, NUM_REPLICAS)]
    if options.before:
        places.insert(0, Place("before", options.before.absolute(), 1))
    with tempfile.TemporaryDirectory() as folder:
        found = token_us(places, options.rounds, llama_tokenizer(Path(folder)))
    for name, figures in found.items():
        print(f"{name}: {statistics.median(figures):.1f} us a token {figures}")
    machine.finish()
    print(machine)


if __name__ == "__main__":
    main()
