"""What Triton says when it refuses or fails, as the errors a caller may see. One table each.

Engine text stays in the log: of all messages below only the parts in groups reach a caller.
"""

import re
from collections.abc import Callable

import grpc
import structlog

from gateway.errors import (
    ContextTooLong,
    EngineFailure,
    EngineTimeout,
    EngineUnavailable,
    GatewayError,
    InvalidGuide,
    Overloaded,
    UnsupportedParameter,
)
from gateway.http2.status import StatusError

ADAPTER_NOT_HELD = "adapter_not_held"

log = structlog.get_logger(__name__)

PARAMS = {
    "bad_words_list": "bad_words",
    "embedding_bias": "logit_bias",
    "frequency_penalty": "frequency_penalty",
    "guided_decoding_guide": "response_format",
    "guided_decoding_guide_type": "response_format",
    "lora_task_id": "model",
    "min_tokens": "min_tokens",
    "num_return_sequences": "n",
    "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty",
    "return_log_probs": "logprobs",
    "runtime_top_k": "top_k",
    "runtime_top_p": "top_p",
    "seed": "seed",
    "stop_words_list": "stop_token_ids",
    "temperature": "temperature",
}


def _unsupported(match: re.Match[str]) -> GatewayError:
    param = PARAMS.get(match[1])
    name = param or match[1]
    return UnsupportedParameter(f"{name!r} is not supported by this model's engine.", param=param)


def _above_limit(match: re.Match[str]) -> GatewayError:
    param = PARAMS.get(match[1])
    name = param or match[1]
    return UnsupportedParameter(
        f"{name!r} can be at most {match[2]} with this model's engine.", param=param
    )


def _invalid_guide(match: re.Match[str]) -> GatewayError:
    return InvalidGuide(f"The engine cannot compile this grammar: {match[1].strip()}")


def _context(match: re.Match[str]) -> GatewayError:
    return ContextTooLong.by_prompt(int(match[1]), int(match[2]), param="messages")


def _overloaded(_: re.Match[str]) -> GatewayError:
    return Overloaded("The engine's queue is full. Try again shortly.", retry_after_s=1)


def _adapter_not_held(_: re.Match[str]) -> GatewayError:
    return EngineFailure("The engine dropped this model's LoRA adapter.", code=ADAPTER_NOT_HELD)


def _model_is_dead(_: re.Match[str]) -> GatewayError:
    return EngineUnavailable("The model's process does not answer.", retry_after_s=5)


def _unavailable(_: re.Match[str]) -> GatewayError:
    return EngineUnavailable("The engine is not ready.", retry_after_s=5)


# Where in xgrammar a guide was at fault: `[12:05:04] /project/cpp/regex_converter.cc:73: `.
_XGRAMMAR = r"\[[\d:]+\] \S*(?:grammar|regex|schema|structural)\w*\.cc:\d+: "

MESSAGES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], GatewayError]], ...] = (
    (re.compile(r"unsupported tensor '(\w+)': at most (\d+)"), _above_limit),
    (re.compile(r"unsupported tensor '(\w+)'"), _unsupported),
    (re.compile(r"invalid guide: (.*)", re.DOTALL), _invalid_guide),
    # TensorRT-LLM: executorImpl.cpp's forwardAsync tells every request in flight what xgrammar
    # raised for one; py_executor's guided decoder tells that one alone.
    (re.compile(rf"in forwardAsync function: {_XGRAMMAR}([^\n]*)"), _invalid_guide),
    (re.compile(rf"Guided decoding error: (?!internal)(?:{_XGRAMMAR})?([^\n]*)"), _invalid_guide),
    (re.compile(r"Prompt length \((\d+)\) exceeds maximum input length \((\d+)\)"), _context),
    (re.compile(r"Exceeds maximum queue size|Maximum queue size of", re.IGNORECASE), _overloaded),
    (re.compile(r"LoRA task \d+ not found in cache", re.IGNORECASE), _adapter_not_held),
    # SendMessageToStub in src/python_be.cc of Triton's Python backend.
    (re.compile(r"Stub process .*is not healthy|obtain the health mutex"), _model_is_dead),
    (re.compile(r"unknown model|is not ready|not found|unavailable", re.IGNORECASE), _unavailable),
)


def error_from_message(message: str, request_id: str) -> GatewayError:
    """Return the error for a stream response's `error_message`."""
    for pattern, make in MESSAGES:
        if match := pattern.search(message):
            return make(match)
    log.error("engine_failure", engine_request_id=request_id, engine_message=message)
    return EngineFailure("The engine failed to complete this request.")


STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def error_from_status(code: grpc.StatusCode, details: str, request_id: str) -> GatewayError:
    """Return the error for a gRPC status that ended a call."""
    if code is grpc.StatusCode.UNAVAILABLE:
        log.warning("engine_unavailable", engine_request_id=request_id, details=details)
        return EngineUnavailable("The engine cannot be reached.", retry_after_s=5)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return EngineTimeout("The engine did not finish in time.")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Overloaded("The engine has no room for this request.", retry_after_s=1)
    return error_from_message(details, request_id)


def translated(error: BaseException | None, request_id: str) -> GatewayError | None:
    """Return the GatewayError that a gRPC error stands for, None for any other."""
    if isinstance(error, StatusError):
        code = STATUS_CODES[error.code]
        return error_from_status(code, error.details or code.name, request_id)
    if isinstance(error, grpc.RpcError):
        code = error.code()
        return error_from_status(code, error.details() or code.name, request_id)
    return None
