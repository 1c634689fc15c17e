"""The `tensorrt_llm` model of Triton's Python backend; its parameter `engine` names the engine."""

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))

from backend import contract, responses
from backend.deployment import Deployment
from backend.gauges import RequestGauges
from backend.generation import Cancelled, QueueFull
from backend.loop import Loop


class TritonPythonModel:
    """Answers every request from the loop's thread, so that they run side by side."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the engine that the model's parameters name."""
        deployment = Deployment.read(Path(args["model_repository"]), args["model_config"])
        self._limits = deployment.limits
        self._engine = deployment.load_engine()
        self._loop = Loop(
            self._engine,
            max_queue_size=deployment.max_queue_size,
            report=RequestGauges(
                args["model_name"], args["model_version"], deployment.max_num_seqs
            ).report,
        )

    def execute(self, requests: list[Any]) -> None:
        """Hand requests to the loop; their responses come from there."""
        for request in requests:
            self._submit(request, _TritonCall(request))

    def finalize(self) -> None:
        """End the loop."""
        self._loop.close()

    def _submit(self, triton_request: Any, call: "_TritonCall") -> None:
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
    def __init__(self, request: Any) -> None:
        self._sender = request.get_response_sender()

    def is_cancelled(self) -> bool:
        is_cancelled: bool = self._sender.is_cancelled()
        return is_cancelled

    def send(self, delta: responses.Delta, is_final: bool) -> None:
        response = (
            _one_token(delta.ids[0]) if delta.is_plain else _response(responses.tensors(delta))
        )
        self._sender.send(response, flags=_FINAL if is_final else 0)

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


@functools.lru_cache(maxsize=8192)
def _one_token(token: int) -> Any:
    """Building the response takes as long as sending it, and most responses are alike."""
    one = np.ones((1, 1), np.int32)
    return _response({"output_ids": np.full((1, 1, 1), token, np.int32), "sequence_length": one})
