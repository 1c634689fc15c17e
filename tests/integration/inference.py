"""Raw KServe v2 requests to a running server: named values in, tensors by name out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from gateway.embedded.tritonserver import TritonServer

CONTRACT = json.loads(
    (Path(__file__).parents[1] / "data" / "tensor-contract-trtllm-1.2.json").read_text()
)["tensorrt_llm"]
_INPUTS = {tensor["name"]: tensor["data_type"] for tensor in CONTRACT["inputs"]} | {
    "num_top_log_probs": "INT32",
    "num_prompt_log_probs": "INT32",
    "lora_path": "STRING",
}
_ENSEMBLE_INPUTS = {
    "text_input": "STRING",
    "max_tokens": "INT32",
    "stop_words": "STRING",
    "bad_words": "STRING",
    "embedding_bias_words": "STRING",
    "embedding_bias_weights": "FP32",
    "stream": "BOOL",
}
_DTYPES = {
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT64": np.uint64,
    "FP32": np.float32,
    "BOOL": np.bool_,
}


class EngineError(Exception):
    """The server answered with an error message."""


@dataclass(frozen=True)
class Response:
    """One response of a stream."""

    tensors: dict[str, NDArray[Any]]
    texts: list[str]
    is_final: bool

    @property
    def ids(self) -> list[int]:
        ids: list[int] = self.tensors["output_ids"][0, 0].tolist()
        return ids

    @property
    def index(self) -> int:
        return int(self.tensors["sequence_index"].item()) if "sequence_index" in self.tensors else 0


class Client:
    """Speaks to one server."""

    def __init__(self, server: TritonServer) -> None:
        self._metrics = f"http://{server.metrics_address}/metrics"
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(
            grpc.insecure_channel(server.grpc_address)
        )

    def open(self, ids: list[int], max_tokens: int, request_id: str = "", **options: Any) -> Any:
        """The call of a request to tensorrt_llm, to iterate, or to cancel."""
        values = {
            "input_ids": ids,
            "input_lengths": len(ids),
            "request_output_len": max_tokens,
            **options,
        }
        request = service_pb2.ModelInferRequest(model_name="tensorrt_llm", id=request_id)
        for name, value in values.items():
            _add(request, name, _INPUTS[name], value)
        return self.stub.ModelStreamInfer(iter([request]))

    def ask(self, ids: list[int], max_tokens: int, request_id: str = "", **options: Any) -> Any:
        """All responses to a request. Raises EngineError."""
        return list(read(self.open(ids, max_tokens, request_id, **options)))

    def sequences(self, ids: list[int], max_tokens: int, **options: Any) -> dict[int, list[int]]:
        """Token ids by sequence index. Raises EngineError."""
        by_index: dict[int, list[int]] = {}
        for response in self.ask(ids, max_tokens, **options):
            by_index.setdefault(response.index, []).extend(response.ids)
        return by_index

    def texts(self, text: str, max_tokens: int, request_id: str = "", **options: Any) -> list[str]:
        """The text of every response of the ensemble. Raises EngineError."""
        values = {"text_input": [text], "max_tokens": max_tokens, **options}
        request = service_pb2.ModelInferRequest(model_name="ensemble", id=request_id)
        for name, value in values.items():
            _add(request, name, _ENSEMBLE_INPUTS[name], value)
        call = self.stub.ModelStreamInfer(iter([request]))
        return ["".join(response.texts) for response in read(call)]

    def num_active(self) -> int:
        """How many requests the engine has, as the server's metrics tell."""
        with urlopen(self._metrics) as page:
            lines = page.read().decode().splitlines()
        (line,) = (line for line in lines if 'request_type="active"' in line)
        return int(float(line.split()[-1]))


def read(call: Any) -> Iterator[Response]:
    """The responses of a call. Raises EngineError."""
    for message in call:
        if message.error_message:
            raise EngineError(message.error_message)
        response = message.infer_response
        is_final = response.parameters["triton_final_response"].bool_param
        pairs = list(zip(response.outputs, response.raw_output_contents, strict=True))
        yield Response(
            {
                output.name: np.frombuffer(raw, _DTYPES[output.datatype]).reshape(output.shape)
                for output, raw in pairs
                if output.datatype != "BYTES"
            },
            [raw[4:].decode() for output, raw in pairs if output.datatype == "BYTES"],
            is_final,
        )


def _add(request: Any, name: str, data_type: str, value: Any) -> None:
    if data_type == "STRING":
        texts = [value] if isinstance(value, str) else value
        encoded = [text.encode() for text in texts]
        raw = b"".join(len(text).to_bytes(4, "little") + text for text in encoded)
        request.inputs.add(name=name, datatype="BYTES", shape=[1, len(texts)])
    else:
        array = np.array(value, _DTYPES[data_type])
        raw = array.tobytes()
        shape = [1, *array.shape] if array.ndim else [1, 1]
        request.inputs.add(name=name, datatype=data_type, shape=shape)
    request.raw_input_contents.append(raw)
