"""An OpenAI-compatible gateway in front of NVIDIA Triton with TensorRT-LLM."""

from importlib.metadata import version

__version__ = version("triton-openai-gateway")
