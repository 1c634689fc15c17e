"""Deployments that only take text, as they are found: the same answers, less what they refuse."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.embedded.tritonserver import TritonServer
from tests.e2e.conftest import Stack, free_port, stop_stack
from tests.e2e.dialogue import ask, streamed, whole
from tests.e2e.test_exact_answers import CALLS, TEXTS, WEATHER

ROOT = Path(__file__).parents[2]
MAX_MODEL_LEN = 2048
# Calls that begin with a control token, which such a deployment does not show.
UNSEEN = {"builtin call"}


@dataclass(frozen=True)
class Deployment:
    """A gateway in front of a model that only takes text, and what that model cannot do."""

    stack: Stack
    refused: dict[str, Any]


NO_TOKENS = {"logprobs": True, "logit_bias": {"1": 1}, "return_token_ids": True}
TEXT_ALONE = NO_TOKENS | {
    "n": 2,
    "min_tokens": 1,
    "stop_token_ids": [1],
    "ignore_eos": True,
    "bad_words": ["a"],
    "repetition_penalty": 1.1,
    "response_format": {"type": "json_object"},
    "guided_regex": "a",
}


VLLM = NO_TOKENS | {"n": 2}
# What the vLLM backend's own model is called, and what it cannot do, beside NVIDIA's llmapi.
TEXT_MODELS = {"llmapi": ("tensorrt_llm", TEXT_ALONE), "vllm_backend": ("vllm_model", VLLM)}


@pytest.fixture(scope="module", params=["ensemble", *TEXT_MODELS])
def deployment(
    request: pytest.FixtureRequest, scripted: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = scripted.repository / "tensorrt_llm/tokenizer"
    if request.param == "ensemble":
        with gateway(folder, scripted, tokenizer, "ensemble") as stack:
            yield Deployment(stack, NO_TOKENS)
        return
    model, refused = TEXT_MODELS[request.param]
    repository = text_repository(folder / "models", tokenizer, request.param, model)
    with TritonServer(repository, log_file=folder / "triton.log") as server:
        server.wait_ready(60)
        at_model = replace(scripted, triton=server.grpc_address)
        with gateway(folder, at_model, tokenizer, model) as stack:
            yield Deployment(stack, refused)


def text_repository(folder: Path, tokenizer: Path, source: str, model: str) -> Path:
    """Return a model repository whose one model simulates one that takes text."""
    version = folder / model / "1"
    shutil.copytree(ROOT / "tests/models" / source, version.parent)
    shutil.copytree(ROOT / "model_repository/tensorrt_llm/1/backend", version / "backend")
    shutil.copytree(tokenizer, version / "tokenizer")
    shutil.copy(ROOT / "tests/e2e/script.json", version / "simulator.json")
    return folder


@contextmanager
def gateway(folder: Path, before: Stack, tokenizer: Path, model: str) -> Iterator[Stack]:
    """Run `gateway serve` in front of another stack's Triton."""
    port = free_port()
    options = [
        f"--triton={before.triton}",
        f"--triton-model={model}",
        f"--http-port={port}",
        "--grpc-port=0",
    ]
    options += [f"--tokenizer={tokenizer}", f"--max-model-len={MAX_MODEL_LEN}"]
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    stack = replace(before, url=f"http://127.0.0.1:{port}", process=process)
    try:
        wait_ready(stack, folder / "gateway.log")
        yield stack
    finally:
        stop_stack(stack)


def wait_ready(stack: Stack, log: Path) -> None:
    deadline = time.monotonic() + 60
    while not is_ready(stack):
        assert stack.process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def is_ready(stack: Stack) -> bool:
    try:
        return httpx.get(f"{stack.url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("prompt", "fields", "text", "finish_reason"),
    TEXTS,
    ids=[f"{prompt} {fields}" for prompt, fields, *_ in TEXTS],
)
def test_text_is_what_token_ids_give(
    deployment: Deployment, prompt: str, fields: dict[str, Any], text: str, finish_reason: str
) -> None:
    body = ask(deployment.stack, prompt, **fields)

    [answer] = whole(deployment.stack, body)

    assert (answer.text, answer.finish_reason, answer.calls) == (text, finish_reason, ())
    assert streamed(deployment.stack, body) == [answer]


@pytest.mark.parametrize(
    ("prompt", "arguments"),
    [call for call in CALLS if call[0] not in UNSEEN],
    ids=[name for name, _ in CALLS if name not in UNSEEN],
)
def test_tool_calls_are_what_token_ids_give(
    deployment: Deployment, prompt: str, arguments: list[Any]
) -> None:
    body = ask(deployment.stack, prompt, tools=[WEATHER])

    [answer] = whole(deployment.stack, body)

    assert [json.loads(text) for _, text in answer.calls] == arguments
    assert (answer.text, answer.finish_reason) == ("", "tool_calls")
    assert streamed(deployment.stack, body) == [answer]


def test_what_it_cannot_do_is_refused_by_name(deployment: Deployment) -> None:
    url = f"{deployment.stack.url}/v1/chat/completions"

    refused = {}
    for param, value in deployment.refused.items():
        answer = httpx.post(url, json=ask(deployment.stack, "x", **{param: value}))
        refused[param] = answer.json().get("error", {}).get("param")

    assert refused == {param: param for param in deployment.refused}
