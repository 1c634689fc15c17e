"""What upstream's package of the same name shows."""

from tensorrt_llm.executor.request import LoRARequest
from tensorrt_llm.executor.result import CompletionOutput, GenerationResult, Logprob

__all__ = ["CompletionOutput", "GenerationResult", "LoRARequest", "Logprob"]
