"""What a gateway costs: CPU for a token and for a whole answer, time to first token, memory.

CPU is user and system time of the gateway's whole process tree over a bounded load.
"""

import asyncio
import itertools
import statistics
import time

import uvloop

from bench.contenders import Running
from bench.lag import probing
from bench.load import Load, Outcome, run
from bench.process import cpu_s, rss_mib
from gateway.bench.figures import percentile

PACE_MS = 20.0
REST_S = 4.0
"""Some allocators give back what a start took only after seconds."""

OPEN_STREAMS = 1000
OPEN_PACE_MS = 1000.0
OPEN_TOKENS = 12
LAG_TOKENS = 200
LAG_DELAY_S, LAG_S = 0.8, 2.8
"""A part of the 4 s that a stream of 200 tokens takes, without its beginning and its end."""

FIGURES = {
    "us_per_token_32": "us/token, 32 streams of 20 ms",
    "us_per_token_128": "us/token, 128 streams of 20 ms",
    "us_per_token_triton": "us/token, 32 streams of 20 ms, real tritonserver",
    "us_per_token_flat": "us/token, 32 streams flat out",
    "tokens_per_s_flat": "tokens/s, 32 streams flat out",
    "events_per_token_128": "events/token, 128 streams of 20 ms",
    "events_per_token_flat": "events/token, 32 streams flat out",
    "lag_p50_ms": "ms for a trivial GET beside 128 streams, median",
    "lag_p99_ms": "ms for a trivial GET beside 128 streams, 99th percentile",
    "ms_per_whole_answer": "ms/whole answer of 64 tokens",
    "first_token_ms": "ms to first token, 1 stream",
    "kib_per_stream": "KiB/open stream, 1,000 streams",
    "rss_mib": "MiB resident, idle",
}


def memory_figures(gateway: Running) -> dict[str, float]:
    """Warm a gateway up; return what it holds, idle and for every open stream."""
    warm_up(gateway)
    time.sleep(REST_S)
    figures = {"rss_mib": rss_mib(gateway.pid)}
    figures["kib_per_stream"] = uvloop.run(_kib_per_stream(gateway.at_pace(OPEN_PACE_MS)))
    return figures


def first_token_figures(gateway: Running) -> dict[str, float]:
    """Return the time to a first token; the worker's own half a millisecond is in it."""
    gateway = gateway.at_pace(0)
    load = Load(gateway.url, gateway.model, streams=1, tokens=2, rounds=60)
    _, outcome = measure(load, gateway.pid)
    _check(load, outcome)
    return {"first_token_ms": statistics.median(outcome.first_token_s[10:]) * 1e3}


def whole_answer_figures(gateway: Running) -> dict[str, float]:
    """Return what an answer costs that is not streamed."""
    cpu, load, _ = _cost(gateway.at_pace(0), streams=32, tokens=64, rounds=20, stream=False)
    return {"ms_per_whole_answer": cpu * 1e3 / load.num_requests}


def flat_figures(gateway: Running) -> dict[str, float]:
    """Return what a token costs as fast as all go."""
    cpu, _, outcome = _cost(gateway.at_pace(0), streams=32, tokens=256, rounds=3)
    return {
        "us_per_token_flat": cpu * 1e6 / outcome.tokens,
        "tokens_per_s_flat": outcome.tokens / outcome.duration_s,
        "events_per_token_flat": outcome.events / outcome.tokens,
    }


def paced_figures(gateway: Running) -> dict[str, float]:
    """Return what a token costs at a GPU's pace."""
    gateway, figures = gateway.at_pace(PACE_MS), {}
    for streams, tokens in ((32, 256), (128, 128)):
        cpu, _, outcome = _cost(gateway, streams=streams, tokens=tokens)
        figures[f"us_per_token_{streams}"] = cpu * 1e6 / outcome.tokens
    figures["events_per_token_128"] = outcome.events / outcome.tokens
    return figures


def lag_figures(gateway: Running) -> dict[str, float]:
    """Return how long others wait, under a load of its own: the asking costs something too."""
    gateway = gateway.at_pace(PACE_MS)
    with probing(gateway.url, LAG_DELAY_S, LAG_S) as took_s:
        _cost(gateway, streams=128, tokens=LAG_TOKENS)
    took_ms = sorted(each * 1e3 for each in took_s)
    return {"lag_p50_ms": percentile(took_ms, 0.5), "lag_p99_ms": percentile(took_ms, 0.99)}


def triton_figures(gateway: Running) -> dict[str, float]:
    """Return what a token costs over a real tritonserver with the simulated engine."""
    cpu, _, outcome = _cost(gateway, streams=32, tokens=256)
    return {"us_per_token_triton": cpu * 1e6 / outcome.tokens}


MEASURES = (first_token_figures, whole_answer_figures, flat_figures, paced_figures, lag_figures)
"""What is measured again and again; each raises RuntimeError if a stream or a token is lost."""


def measure(load: Load, pid: int) -> tuple[float, Outcome]:
    """Run a load; return the gateway's CPU seconds for it, and the outcome."""
    before = cpu_s(pid)
    outcome = uvloop.run(run(load))
    return cpu_s(pid) - before, outcome


def warm_up(gateway: Running) -> None:
    """Long enough for a full garbage collection: Python's start leaves 100 MiB of rubbish."""
    _cost(gateway, streams=32, tokens=32, rounds=2, stream=False)
    _cost(gateway, streams=32, tokens=128, rounds=4)


def _cost(
    gateway: Running, *, streams: int, tokens: int, rounds: int = 1, stream: bool = True
) -> tuple[float, Load, Outcome]:
    load = Load(gateway.url, gateway.model, streams, tokens, rounds, stream)
    cpu, outcome = measure(load, gateway.pid)
    _check(load, outcome)
    return cpu, load, outcome


async def _kib_per_stream(gateway: Running) -> float:
    load = Load(gateway.url, gateway.model, OPEN_STREAMS, OPEN_TOKENS)
    before = rss_mib(gateway.pid)
    num_open = itertools.count(1)
    all_open = asyncio.Event()
    loading = asyncio.ensure_future(
        run(load, lambda: all_open.set() if next(num_open) == OPEN_STREAMS else None)
    )
    waiting = asyncio.ensure_future(all_open.wait())
    await asyncio.wait((loading, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    grown = rss_mib(gateway.pid) - before
    are_open = not loading.done()
    _check(load, await loading)
    if not are_open:
        raise RuntimeError(f"{gateway.url}: {OPEN_STREAMS} streams were never open at once")
    return grown * 1024 / OPEN_STREAMS


def _check(load: Load, outcome: Outcome) -> None:
    if outcome.failures:
        count, reason = len(outcome.failures), outcome.failures[0]
        raise RuntimeError(f"{load.url}: {count} of {load.num_requests} failed: {reason}")
    if outcome.tokens != load.total_tokens:
        raise RuntimeError(f"{load.url}: {outcome.tokens} tokens came of {load.total_tokens}")
