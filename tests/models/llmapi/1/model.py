"""A simulator of NVIDIA's llmapi model: text in, all text so far out, by the stand-in's script.

Tests put the package `backend`, a tokenizer folder and simulator.json beside this file.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))

from backend.contract import Request
from backend.engines.simulated.simulator import Simulator
from backend.generation import Cancelled
from backend.loop import Loop
from backend.responses import Delta

HERE = Path(__file__).parent
MAX_SEQ_LEN = 2048
END_TOKENS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>")
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    """Answers every request from the loop's thread, so that they run side by side."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = HERE / "tokenizer"
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        ids = [self._tokenizer.token_to_id(token) for token in END_TOKENS]
        self._ends = [token for token in ids if token is not None]
        simulator = Simulator.load(HERE / "simulator.json", tokenizer=folder, max_num_seqs=64)
        self._loop = Loop(simulator, report=lambda _: None)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            call = LlmApiCall(request.get_response_sender(), self._tokenizer, tensors)
            if tensors.get("stop", np.zeros(1)).any():
                self._loop.stop(request.request_id(), call)
            else:
                self._loop.submit(self._parse(request.request_id(), tensors), call)

    def finalize(self) -> None:
        self._loop.close()

    def _parse(self, request_id: str, tensors: dict[str, Any]) -> Request:
        text = tensors["text_input"].ravel()[0].decode()
        ids = self._tokenizer.encode(text).ids  # special tokens too, as the LLM API does

        def scalar(name: str, default: float) -> float:
            return float(tensors.get(f"sampling_param_{name}", np.array(default)).item())

        return Request(
            id=request_id,
            input_ids=tuple(ids),
            max_tokens=min(int(scalar("max_tokens", 32)), MAX_SEQ_LEN - len(ids)),
            end_id=self._ends[0],
            stop_words=tuple((end,) for end in self._ends[1:]),
            temperature=scalar("temperature", 1.0),
            top_k=int(scalar("top_k", 0)),
            top_p=scalar("top_p", 1.0),
            streaming=bool(tensors.get("streaming", np.zeros(1)).any()),
        )


class LlmApiCall:
    """Sends the whole text so far with every response, and why it ended with the last."""

    def __init__(self, sender: Any, tokenizer: Tokenizer, tensors: dict[str, Any]) -> None:
        self._sender = sender
        self._tokenizer = tokenizer
        self._wants_reason = bool(tensors.get("return_finish_reason", np.zeros(1)).any())
        self._ids: list[int] = []

    def is_cancelled(self) -> bool:
        return bool(self._sender.is_cancelled())

    def send(self, delta: Delta, is_final: bool) -> None:
        self._ids += delta.ids
        outputs = [_string("text_output", self._tokenizer.decode(self._ids))]
        if is_final and self._wants_reason:
            outputs.append(_string("finish_reason", self._finish_reason(delta.request)))
        self._sender.send(pb_utils.InferenceResponse(outputs), flags=FINAL if is_final else 0)

    def _finish_reason(self, request: Request) -> str:
        has_ended = tuple(self._ids[-1:]) in request.stop_words
        return "length" if len(self._ids) >= request.max_tokens and not has_ended else "stop"

    def end(self) -> None:
        self._sender.send(flags=FINAL)

    def fail(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            code, message = pb_utils.TritonError.CANCELLED, "Request cancelled by client"
        else:
            code, message = pb_utils.TritonError.INTERNAL, f"Error generating request: {error}"
        failure = pb_utils.TritonError(message, code)
        self._sender.send(pb_utils.InferenceResponse(error=failure), flags=FINAL)


def _string(name: str, text: str) -> Any:
    return pb_utils.Tensor(name, np.array([text.encode()], np.object_))
