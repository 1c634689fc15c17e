"""Stand-ins for what no test machine has: TensorRT-LLM's tools, the Hugging Face hub, NVIDIA's
models. They take the arguments and leave the files of the real ones, and compute nothing."""
