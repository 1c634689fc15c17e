"""The `tensorrt_llm` model of Triton's Python backend; its parameter `engine` names the engine."""

import functools
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))

from backend import contract, responses
from backend.delivery import Delivery
from backend.deployment import Deployment
from backend.gauges import RequestGauges
from backend.generation import Call, Cancelled, QueueFull
from backend.loop import Load, Loop


class TritonPythonModel:
    """Answers every request from the loop's thread, so that they run side by side."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine that the model's parameters name."""
        deployment = Deployment.read(Path(args["model_repository"]), args["model_config"])
        self._limits = deployment.limits
        self._engine = deployment.load_engine()
        self._delivery = Delivery(deployment.num_senders)
        self._held = _Held()
        gauges = RequestGauges(args["model_name"], args["model_version"], deployment.max_num_seqs)

        def end_round(load: Load) -> None:
            self._delivery.flush()
            gauges.report(load)

        self._loop = Loop(self._engine, max_queue_size=deployment.max_queue_size, report=end_round)

    def execute(self, requests: list[Any]) -> None:
        """Hand requests to the loop; their responses come from there."""
        for request in requests:
            self._submit(request, self._delivery.of(_TritonCall(request, self._held)))

    def finalize(self) -> None:
        """End the loop, and send what is left."""
        self._loop.close()
        self._delivery.close()

    def _submit(self, triton_request: Any, call: Call) -> None:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in triton_request.inputs()}
        request_id = triton_request.request_id()
        try:
            if contract.is_stop(request_id, tensors):
                self._loop.stop(request_id, call)
                return
            request = contract.parse(request_id, tensors, self._limits)
            self._engine.check(tensors, request)
        except contract.Refused as error:
            call.fail(error)
            return
        self._loop.submit(request, call)


class _TritonCall:
    def __init__(self, request: Any, held: "_Held") -> None:
        self._sender = request.get_response_sender()
        self._held = held

    def is_cancelled(self) -> bool:
        is_cancelled: bool = self._sender.is_cancelled()
        return is_cancelled

    def send(self, delta: responses.Delta, is_final: bool) -> None:
        self._sender.send(self._response(delta), flags=_FINAL if is_final else 0)

    def _response(self, delta: responses.Delta) -> Any:
        if not delta.is_plain:
            return _response(responses.tensors(delta))
        if len(delta.ids) == 1:
            return self._held.one_token(delta.ids[0])
        return self._held.tokens(delta.ids)

    def end(self) -> None:
        self._sender.send(flags=_FINAL)

    def fail(self, error: Exception) -> None:
        code = getattr(pb_utils.TritonError, _CODES.get(type(error), "INTERNAL"))
        triton_error = pb_utils.TritonError(str(error) or type(error).__name__, code)
        self._sender.send(pb_utils.InferenceResponse(error=triton_error), flags=_FINAL)


_CODES = {
    contract.Refused: "INVALID_ARG",
    contract.UnsupportedTensor: "INVALID_ARG",
    QueueFull: "UNAVAILABLE",
    Cancelled: "CANCELLED",
}
_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


def _response(tensors: dict[str, Any]) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor(*item) for item in tensors.items()])


class _Held(threading.local):
    """What a thread sends again and again: building a response takes as long as sending it.

    One that two threads send at a time crashes Triton 24.10, so that each has its own.
    """

    def __init__(self) -> None:
        self.one_token = functools.lru_cache(maxsize=8192)(lambda token: self.tokens([token]))
        self._length = functools.lru_cache(maxsize=256)(_length)

    def tokens(self, ids: list[int]) -> Any:
        """The response that bears these tokens, and nothing else."""
        output_ids = pb_utils.Tensor("output_ids", np.array([[ids]], np.int32))
        return pb_utils.InferenceResponse([output_ids, self._length(len(ids))])


def _length(count: int) -> Any:
    return pb_utils.Tensor("sequence_length", np.array([[count]], np.int32))
