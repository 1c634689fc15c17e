"""What upstream's package of the same name shows."""

from tensorrt_llm.llmapi.llm import LLM

__all__ = ["LLM"]
