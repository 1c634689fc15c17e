"""OpenVINO GenAI: a real model on the CPU."""
