"""TensorRT-LLM's tensors in Python, over engines of several kinds: a counterpart of the C++ backend
`tensorrtllm`."""
