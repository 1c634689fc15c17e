"""The gRPC port of a real gateway: health from its start to its drain, errors told by Triton."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from gateway.client import Client, conversation, user
from gateway.client.errors import call_failed
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.generation_pb2 import Limits
from gateway.v1.model_pb2 import GetModelRequest
from gateway.v1.model_pb2_grpc import ModelServiceStub
from tests.e2e.conftest import Stack, free_port

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@contextmanager
def gateway(folder: Path, triton: str, tokenizer: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """Run `gateway serve`; yield its gRPC address, and how to ask it to stop and await that."""
    port = free_port()
    command = [sys.executable, "-m", "gateway", "serve", f"--triton={triton}", "--http-port=0"]
    command += [f"--grpc-port={port}", f"--tokenizer={tokenizer}", "--model-id=m"]
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )

    def stop() -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(20)

    try:
        yield f"127.0.0.1:{port}", stop
    finally:
        process.kill()
        process.wait()


def probe(channel: grpc.Channel, wanted: int, timeout_s: float = 90) -> int:
    """Ask for the health until it is `wanted`, as a prober would; return the last answer."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            request = HealthCheckRequest()
            answer = HealthStub(channel).Check(request, wait_for_ready=True, timeout=timeout_s)
            if answer.status == wanted:
                return wanted
        except grpc.RpcError as error:
            assert time.monotonic() < deadline, error
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def tokenizer(scripted: Stack) -> Path:
    return scripted.repository / "tensorrt_llm" / "tokenizer"


def test_without_a_triton_the_gateway_lives_but_does_not_serve(
    tmp_path: Path, tokenizer: Path
) -> None:
    with gateway(tmp_path, "127.0.0.1:1", tokenizer) as (address, stop):
        with grpc.insecure_channel(address) as channel:
            assert probe(channel, NOT_SERVING) == NOT_SERVING
            with pytest.raises(grpc.RpcError) as failed:
                ModelServiceStub(channel).GetModel(GetModelRequest(id="m"))
        assert stop() == -signal.SIGTERM

    error = call_failed(failed.value)
    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "ENGINE_UNAVAILABLE")
    assert error.retry_after_s


def test_a_stream_outlives_the_signal_to_stop(
    scripted: Stack, tmp_path: Path, tokenizer: Path
) -> None:
    with (
        gateway(tmp_path, scripted.triton, tokenizer) as (address, stop),
        ThreadPoolExecutor(1) as pool,
        grpc.insecure_channel(address) as channel,
        Client(address) as rpc,
    ):
        assert probe(channel, SERVING) == SERVING
        watch = HealthStub(channel).Watch(HealthCheckRequest())
        assert next(watch).status == SERVING
        stream = rpc.stream_chat(request(2000))
        first = next(stream)
        stopping = pool.submit(stop)
        assert next(watch).status == NOT_SERVING
        last = list(stream)[-1]
        assert stopping.result() == -signal.SIGTERM

    assert first.HasField("started") and last.HasField("finished")
    assert last.usage.completion_tokens == 2000


def request(max_tokens: int) -> ChatCompletionRequest:
    return ChatCompletionRequest(
        model="m",
        conversation=conversation(user("goes on")),
        limits=Limits(max_tokens=max_tokens),
    )
