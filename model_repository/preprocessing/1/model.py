"""Text into the tensors of `tensorrt_llm`, as a model of Triton's Python backend."""

import json
import sys
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))

from prompt_encoder import PromptEncoder


class TritonPythonModel:
    """Encodes each request by itself; one prompt per request."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer that the parameter `tokenizer_dir` names."""
        parameters = json.loads(args["model_config"])["parameters"]
        values = {name: value["string_value"] for name, value in parameters.items()}
        self._encoder = PromptEncoder.load(Path(args["model_repository"]).parent, values)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response, or error, per request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        try:
            encoded = self._encoder.encode(tensors)
        except ValueError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(*item) for item in encoded.items()])
