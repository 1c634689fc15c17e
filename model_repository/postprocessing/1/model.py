"""Token deltas of `tensorrt_llm` into text, as a model of Triton's Python backend."""

import json
import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))

from text_streams import TextStreams


class TritonPythonModel:
    """Decodes each request by itself, carrying what a delta leaves incomplete to the next."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer that the parameter `tokenizer_dir` names."""
        parameters = json.loads(args["model_config"])["parameters"]
        values = {name: value["string_value"] for name, value in parameters.items()}
        self._streams = TextStreams.load(Path(args["model_repository"]).parent, values)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response per request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        output = self._streams.decode(request.request_id(), tensors)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", output)])
