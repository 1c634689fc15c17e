"""A scripted vLLM: the names that are used of vLLM 0.26.0, behaving as its source says.

Put on the path of the engine's process in place of vLLM; its tokens are arithmetic.
"""

from vllm.sampling_params import SamplingParams

__all__ = ["SamplingParams"]
