"""What TensorRT-LLM's backend tells of itself among Triton's metrics: KV cache, work, iterations.

Source: custom_metrics_reporter.cc of tensorrtllm_backend. Its C++ backend tells all of these, the
`llmapi` model none; what is not told is left out.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import NamedTuple

from gateway.triton.work import KvCache

TIMEOUT_S = 1.0
MAX_BYTES = 2**22
STANDSTILL_S = 3.0
"""How long the iterations of an engine with work may stand still. It tells every 0.1 s."""

_GAUGE = re.compile(r"^nv_trt_llm_(\w+)_metrics\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_KIND = {"kv_cache_block": "kv_cache_block_type", "general": "general_type"}
_KIND |= {"request": "request_type"}


class Gauges(NamedTuple):
    """What was told of one model; `iteration` counts the engine's steps, None where untold."""

    kv: KvCache
    num_active: int = 0
    iteration: int | None = None


def read_gauges(text: str, model: str) -> Gauges:
    """Return what a page of metrics tells of a model. Raises ValueError for what is no number."""
    told: dict[tuple[str, str], float] = {}
    for family, labels, value in _GAUGE.findall(text):
        named: Mapping[str, str] = dict(_LABEL.findall(labels))
        if family in _KIND and named.get("model") == model:
            told[family, named.get(_KIND[family], "")] = float(value)
    blocks = [int(told.get(("kv_cache_block", kind), 0)) for kind in ("max", "used", "tokens_per")]
    iteration = told.get(("general", "iteration_counter"))
    return Gauges(
        kv=KvCache(*blocks),
        num_active=int(told.get(("request", "active"), 0)),
        iteration=None if iteration is None else int(iteration),
    )


async def ask_gauges(address: str, port: int, model: str) -> Gauges:
    """Return what the Triton at an address tells on its metrics port.

    Raises OSError, asyncio.TimeoutError, or ValueError for what is no page of metrics.
    """
    host = address.rpartition(":")[0].strip("[]")
    page = await asyncio.wait_for(_page(host, port), TIMEOUT_S)
    return read_gauges(page, model)


async def _page(host: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        raw = b""
        while chunk := await reader.read(2**16):
            raw += chunk
            if len(raw) > MAX_BYTES:
                raise ValueError("the metrics are too long")
    finally:
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise ValueError("there are no metrics")
    return body.decode(errors="replace")


class Iterations:
    """Whether an engine that has work goes on, by its count of iterations. Pure."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._since = 0.0

    def is_stuck(self, gauges: Gauges, now: float) -> bool:
        """Tell whether it stood still for three seconds while it had work."""
        has_moved = gauges.iteration != self._last
        if has_moved or gauges.iteration is None or not gauges.num_active:
            self._last, self._since = gauges.iteration, now
        return now - self._since >= STANDSTILL_S
