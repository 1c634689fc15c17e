"""Scripted answers at a simulated pace: stands in for TensorRT-LLM, and is no model."""
