"""A simulator of a model of Triton's vLLM backend: text in, what the text gained out, by a script.

Tests put the package `backend`, a tokenizer folder and simulator.json beside this file. It reads
and answers as src/utils/request.py of vllm_backend does (11c4e0f): parameters are JSON with vLLM's
names and defaults, an unknown one is an error (vllm_backend_utils.py at 0881a8a), the text is
encoded with special tokens, and a character is held back until it is whole.
"""

import json
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
FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
KNOWN = {
    *("max_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "ignore_eos"),
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "stop_token_ids"),
    *("bad_words", "guided_decoding"),
}


class TritonPythonModel:
    """Answers every request from the loop's thread, so that they run side by side."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = HERE / "tokenizer"
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        simulator = Simulator.load(HERE / "simulator.json", tokenizer=folder, max_num_seqs=64)
        self._loop = Loop(simulator, report=lambda _: None)

    def execute(self, requests: list[Any]) -> None:
        for request in requests:
            tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            call = VllmCall(request.get_response_sender(), self._tokenizer, tensors)
            try:
                self._loop.submit(self._parse(request.request_id(), tensors), call)
            except (ValueError, TypeError) as error:
                call.fail(error)

    def finalize(self) -> None:
        self._loop.close()

    def _parse(self, request_id: str, tensors: dict[str, Any]) -> Request:
        text = tensors["text_input"][0].decode()
        parameters = json.loads(tensors["sampling_parameters"][0].decode())
        if unknown := parameters.keys() - KNOWN:
            raise TypeError(f"Unexpected keyword argument '{min(unknown)}'")
        if "guided_decoding" in parameters:
            check_guide(json.loads(parameters["guided_decoding"]))
        ids = self._tokenizer.encode(text).ids
        return Request(
            id=request_id,
            input_ids=tuple(ids),
            max_tokens=min(parameters.get("max_tokens", 16), MAX_SEQ_LEN - len(ids)),
            min_tokens=parameters.get("min_tokens", 0),
            stop_words=tuple((end,) for end in parameters.get("stop_token_ids", ())),
            streaming=bool(tensors["stream"][0]),
        )


def check_guide(guide: dict[str, Any]) -> None:
    """Raise ValueError for what StructuredOutputsParams or the backend refuses."""
    if len(guide) != 1 or guide.keys() - {"json", "regex", "grammar", "json_object"}:
        raise ValueError("You must use one kind of structured outputs constraint")
    if not isinstance(guide.get("json", {}), dict):
        raise ValueError("structured_outputs.json must be a JSON schema dictionary")


class VllmCall:
    """Sends what the text gained, and with the last response why it ended."""

    def __init__(self, sender: Any, tokenizer: Tokenizer, tensors: dict[str, Any]) -> None:
        self._sender = sender
        self._tokenizer = tokenizer
        self._asked = {name for name, value in tensors.items() if name[:7] == "return_" and value}
        self._ids: list[int] = []
        self._told = ""

    def is_cancelled(self) -> bool:
        return bool(self._sender.is_cancelled())

    def send(self, delta: Delta, is_final: bool) -> None:
        self._ids += delta.ids
        ends = {word[0] for word in delta.request.stop_words}
        shown = self._ids[:-1] if set(self._ids[-1:]) & ends else self._ids
        text = self._tokenizer.decode(shown)
        if not is_final:
            text = text.rstrip("\N{REPLACEMENT CHARACTER}")
        outputs = [_string("text_output", text[len(self._told) :])]
        self._told = text
        if "return_finish_reason" in self._asked:
            reason = "stop" if set(self._ids[-1:]) & ends else "length"
            outputs.append(_string("finish_reason", reason if is_final else "None"))
        if "return_num_output_tokens" in self._asked:
            count = np.array([len(delta.ids)], np.uint32)
            outputs.append(pb_utils.Tensor("num_output_tokens", count))
        self._sender.send(pb_utils.InferenceResponse(outputs), flags=FINAL if is_final else 0)

    def end(self) -> None:
        self._sender.send(flags=FINAL)

    def fail(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            failure = pb_utils.TritonError("Request was cancelled", pb_utils.TritonError.CANCELLED)
        else:
            failure = pb_utils.TritonError(f"Error generating stream: {error}")
        outputs = [_string("text_output", "N/A")]
        self._sender.send(pb_utils.InferenceResponse(outputs, error=failure), flags=FINAL)


def _string(name: str, text: str) -> Any:
    return pb_utils.Tensor(name, np.array([text.encode()], np.object_))
