"""A stand-in for the package `tensorrt_llm`, as far as our engine on the LLM API uses it.

It behaves as NVIDIA/TensorRT-LLM's source says, 1.3.0rc29 where that could be read; each module
names its source. What it generates is scripted: the folder that it takes for a model holds
simulator.json and, for answers given as text, tokenizer.json.
"""

from tensorrt_llm.llmapi.llm import LLM
from tensorrt_llm.sampling_params import SamplingParams

__version__ = "1.3.0rc29"
__all__ = ["LLM", "SamplingParams"]
