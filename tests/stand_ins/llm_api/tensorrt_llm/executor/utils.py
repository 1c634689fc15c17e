"""Errors of requests. Source: tensorrt_llm/executor/utils.py and executor.py at ed53795."""


class RequestError(RuntimeError):
    """What is wrong with one request; the engine goes on."""
