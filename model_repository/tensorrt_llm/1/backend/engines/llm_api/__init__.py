"""TensorRT-LLM by its LLM API, the only way into it from release 1.3 on."""
