import socket

import grpc
import pytest

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
from gateway.triton.channel import Channel
from gateway.triton.deployment import read_deployment
from gateway.triton.errors import error_from_message, error_from_status


@pytest.fixture
def free_address() -> str:
    """An address of the loopback at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("message", "error", "param"),
    [
        ("unsupported tensor 'embedding_bias': no", UnsupportedParameter, "logit_bias"),
        ("unsupported tensor 'num_return_sequences': at most 64", UnsupportedParameter, "n"),
        ("invalid guide: Unsupported type", InvalidGuide, None),
        (
            "Prompt length (9000) exceeds maximum input length (8191). Set it higher",
            ContextTooLong,
            "messages",
        ),
        ("Exceeds maximum queue size", Overloaded, None),
        ("Maximum queue size of 4 has been reached", Overloaded, None),
        ("Request for unknown model: 'tensorrt_llm' is not found", EngineUnavailable, None),
        ("Stub process 'tensorrt_llm_0_0' is not healthy.", EngineUnavailable, None),
        ("Failed to obtain the health mutex.", EngineUnavailable, None),
        ("CUDA out of memory at /opt/tritonserver/secret.cc:12", EngineFailure, None),
    ],
)
def test_an_engine_message_becomes_the_error_it_means(
    message: str, error: type[GatewayError], param: str | None
) -> None:
    result = error_from_message(message, "an-id")

    assert type(result) is error
    assert result.param == param


def test_a_number_above_what_the_engine_can_do_is_told_with_its_limit() -> None:
    result = error_from_message("unsupported tensor 'num_return_sequences': at most 64", "an-id")

    assert result.message == "'n' can be at most 64 with this model's engine."


def test_the_text_of_an_unknown_failure_does_not_reach_the_caller() -> None:
    result = error_from_message("crash at /opt/tritonserver/secret.cc:12", "an-id")

    assert "secret" not in result.message


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, EngineUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, EngineTimeout),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.INTERNAL, EngineFailure),
    ],
)
def test_a_grpc_status_becomes_the_error_it_means(
    code: grpc.StatusCode, error: type[GatewayError]
) -> None:
    assert type(error_from_status(code, "details", "an-id")) is error


@pytest.mark.parametrize(
    "error",
    [
        ContextTooLong.by_prompt(9000, 8192, "messages"),
        ContextTooLong.by_answer(8000, 500, 8192, "prompt"),
        error_from_message("Prompt length (9) exceeds maximum input length (8)", "an-id"),
    ],
    ids=["by its prompt", "by its answer", "told by the engine"],
)
def test_a_prompt_that_is_too_long_is_told_in_the_words_that_clients_look_for(
    error: GatewayError,
) -> None:
    # litellm/litellm_core_utils/exception_mapping_utils.py looks for these, in lower case.
    assert "this model's maximum context length is" in error.message.lower()


async def test_where_triton_is_stays_in_the_log(free_address: str) -> None:
    channel = Channel(free_address)

    with pytest.raises(EngineUnavailable) as failure:
        await read_deployment(channel, "tensorrt_llm")

    assert free_address not in failure.value.message
    assert free_address in failure.value.detail
    await channel.close()
