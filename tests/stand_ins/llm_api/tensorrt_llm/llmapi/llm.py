"""The LLM: takes requests on an event loop, and has an executor's thread generate for all at once.

Source: tensorrt_llm/llmapi/llm.py of 1.3: signature of `generate_async`, what it checks, the order
of that.
"""

from pathlib import Path
from typing import Any

from tensorrt_llm.executor.request import LoRARequest
from tensorrt_llm.executor.result import GenerationResult
from tensorrt_llm.executor.utils import RequestError
from tensorrt_llm.llmapi import llm_args
from tensorrt_llm.llmapi.executor import Executor
from tensorrt_llm.sampling_params import SamplingParams


class LLM:
    """One engine."""

    def __init__(self, model: str | Path, tokenizer: Any = None, **kwargs: Any) -> None:
        self.args = llm_args.check({"model": model, "tokenizer": tokenizer, **kwargs})
        self._executor: Executor | None = Executor(Path(model), self.args)

    def generate_async(
        self,
        inputs: list[int],
        sampling_params: SamplingParams | None = None,
        lora_request: LoRARequest | None = None,
        prompt_adapter_request: Any = None,
        streaming: bool = False,
        kv_cache_retention_config: Any = None,
        disaggregated_params: Any = None,
        trace_headers: Any = None,
        _postproc_params: Any = None,
        scheduling_params: Any = None,
        conversation_params: Any = None,
        cache_salt: str | None = None,
        priority: float = 0.5,
    ) -> GenerationResult:
        """Begin a request; read its result on this event loop."""
        if self._executor is None or self._executor.is_shutdown:
            raise RuntimeError("LLM is shutting down")
        if not isinstance(inputs, list) or not all(type(token) is int for token in inputs):
            raise TypeError(f"The inputs must be type str or list of int, but got {type(inputs)}")
        if not isinstance(sampling_params, SamplingParams):
            raise TypeError(f"The sampling_params must be type SamplingParams, {sampling_params}")
        if sampling_params.end_id is None:
            raise ValueError("tokenizer is required to reset end_id if it is None")
        self._check_arguments(len(inputs))
        if lora_request is not None and not self._takes_adapters:
            raise ValueError("lora_config or enable_lora is needed for a lora_request")
        return self._executor.submit(inputs, sampling_params, lora_request, streaming)

    def shutdown(self) -> None:
        """End the executor."""
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    @property
    def _takes_adapters(self) -> bool:
        return bool(getattr(self.args, "lora_config", None) or getattr(self.args, "enable_lora", 0))

    def _check_arguments(self, prompt_len: int) -> None:
        limit = getattr(self.args, "max_num_tokens", None)
        if limit and not getattr(self.args, "enable_chunked_prefill", False) and prompt_len > limit:
            raise RequestError(
                f"The sum of prompt length ({prompt_len}), query length (0) should not exceed "
                f"max_num_tokens ({limit})"
            )
