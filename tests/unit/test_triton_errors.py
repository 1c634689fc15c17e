import socket

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

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
from gateway.triton.call import EngineRequest
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


# executorImpl.cpp: Executor::Impl::forwardAsync, within model_instance_state.cc's words.
ENDED = (
    "Executor failed process requestId 7 due to the following error: Encountered an error in "
    "forwardAsync function: "
)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        # xgrammar: EBNFParser::ReportParseError, RegexConverter::RaiseError.
        (
            f"{ENDED}[12:05:04] /project/cpp/grammar_parser.cc:88: EBNF parser error at line 1, "
            'column 10: Rule "a" is not defined',
            'EBNF parser error at line 1, column 10: Rule "a" is not defined',
        ),
        (
            f"{ENDED}[12:05:04] /project/cpp/regex_converter.cc:73: Regex parsing error at "
            "position 4: The parenthesis is not closed.\n1  0x7f3a tensorrt_llm::throwRuntimeError",
            "Regex parsing error at position 4: The parenthesis is not closed.",
        ),
        # grammar_compiler.py: format_guided_error, compile_timeout_message.
        (
            "Guided decoding error: [12:05:04] /project/cpp/json_schema_converter.cc:9: Odd",
            "Odd",
        ),
        (
            "Guided decoding error: grammar compilation did not finish within 30s.",
            "grammar compilation did not finish within 30s.",
        ),
    ],
    ids=["C++ grammar", "C++ regex", "PyTorch", "PyTorch's time limit"],
)
def test_what_tensorrt_llm_says_of_a_guide_is_the_fault_of_whoever_gave_one(
    message: str, told: str
) -> None:
    answer = pb.ModelStreamInferResponse(error_message=message).SerializeToString()

    with pytest.raises(InvalidGuide) as guided:
        EngineRequest("an-id", "guided_grammar").parse(answer)
    with pytest.raises(EngineUnavailable) as beside:
        EngineRequest("an-id").parse(answer)

    assert guided.value.param == "guided_grammar"
    assert guided.value.message == f"The engine cannot compile this grammar: {told}"
    assert beside.value.retry_after_s == 1


@pytest.mark.parametrize(
    "message",
    [
        f"{ENDED}[TensorRT-LLM][ERROR] Assertion failed: mNextBlocks.empty()",
        "Guided decoding error: internal error in fetch_batch: list index out of range",
    ],
)
def test_other_failures_of_an_engine_are_nobody_s_guide(message: str) -> None:
    assert type(error_from_message(message, "an-id")) is EngineFailure


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
