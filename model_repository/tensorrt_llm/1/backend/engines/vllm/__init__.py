"""vLLM as an Engine, in a process of its own with an interpreter of its own."""
