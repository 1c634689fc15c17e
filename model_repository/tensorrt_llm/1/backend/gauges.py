"""TensorRT-LLM's gauges of requests, among Triton's own metrics."""

import time

import triton_python_backend_utils as pb_utils

from backend.loop import Load

_PERIOD_S = 0.1


class RequestGauges:
    """`nv_trt_llm_request_metrics`, by `request_type` as TensorRT-LLM's backend exports it."""

    def __init__(self, model: str, version: str, max_num_seqs: int) -> None:
        self._family = pb_utils.MetricFamily(
            name="nv_trt_llm_request_metrics",
            description="Requests: max, active, of these scheduled and waiting",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        self._gauges = {
            kind: self._family.Metric(
                labels={"model": model, "version": version, "request_type": kind}
            )
            for kind in ("max", "active", "scheduled", "waiting")
        }
        self._gauges["max"].set(max_num_seqs)
        self._shown = Load(0, 0)
        self._next = 0.0

    def report(self, load: Load) -> None:
        """Show the load; while there is any, changes are shown every 0.1 s."""
        now = time.monotonic()
        if load == self._shown or (now < self._next and load.active):
            return
        self._shown, self._next = load, now + _PERIOD_S
        self._gauges["active"].set(load.active + load.waiting)
        self._gauges["scheduled"].set(load.active)
        self._gauges["waiting"].set(load.waiting)
