"""A stand-in for the model `tensorrt_llm`, to load in Triton's Python backend in place of the C++
one: a config with only the backend swapped. It answers nothing."""

from typing import Any


class TritonPythonModel:
    """Takes any config."""

    def initialize(self, args: dict[str, str]) -> None: ...

    def execute(self, requests: list[Any]) -> None:
        raise NotImplementedError("a stand-in: it only loads")
