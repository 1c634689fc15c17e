"""Stand-ins for TensorRT-LLM behind its Triton tensors: an engine on the CPU, and a simulator."""
