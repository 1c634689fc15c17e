"""What a newcomer does first: one command, then OpenAI's own client."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Stack, start_stack, stop_stack

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
STORY: Any = [{"role": "user", "content": "Tell me a long story about the sea."}]


def streamed(sdk: openai.OpenAI, **options: Any) -> str:
    chunks = sdk.chat.completions.create(stream=True, **options)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def whole(sdk: openai.OpenAI, **options: Any) -> str:
    return sdk.chat.completions.create(**options).choices[0].message.content or ""


def test_a_real_model_answers_a_real_question(stack: Stack, sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model=stack.model, messages=QUESTION, temperature=0)

    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"


def test_the_first_question_is_answered_sensibly_every_time(
    stack: Stack, sdk: openai.OpenAI
) -> None:
    def ask(seed: int) -> str:
        return whole(sdk, model=stack.model, messages=QUESTION, max_tokens=32, seed=seed)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(20)))

    assert [answer for answer in answers if "Paris" not in answer] == []
    assert len(set(answers)) > 1, "nothing was sampled"


def test_a_request_that_says_how_to_sample_is_sampled_so(stack: Stack, sdk: openai.OpenAI) -> None:
    options = {"model": stack.model, "messages": STORY, "max_tokens": 32, "seed": 7}

    answers = [whole(sdk, **options, temperature=0.2, top_p=0.9), whole(sdk, **options)]
    otherwise = whole(sdk, **options, temperature=2, top_p=1)

    assert answers[0] == answers[1] != otherwise


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.9, "seed": 7}], ids=str)
def test_a_stream_says_what_the_whole_answer_says(
    stack: Stack, sdk: openai.OpenAI, sampling: dict[str, Any]
) -> None:
    options = {"model": stack.model, "messages": STORY, "max_tokens": 48, **sampling}

    assert streamed(sdk, **options) == whole(sdk, **options) != ""


async def test_the_async_client_streams_too(stack: Stack) -> None:
    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key="none") as client:
        chunks = await client.chat.completions.create(
            model=stack.model, messages=QUESTION, temperature=0, stream=True
        )
        texts = [c.choices[0].delta.content or "" async for c in chunks]

    assert "Paris" in "".join(texts)


def test_usage_is_counted_and_the_limit_told(stack: Stack, sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model=stack.model, messages=STORY, max_tokens=9)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 9


def test_a_client_that_leaves_ends_its_generation_in_triton(stack: Stack) -> None:
    body = {"model": stack.model, "messages": STORY, "stream": True, "ignore_eos": True}

    with httpx.stream("POST", f"{stack.url}/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        next(lines)
        wait_until_active(stack, 1)

    wait_until_active(stack, 0)


def wait_until_active(stack: Stack, count: float) -> None:
    """Wait until Triton's model says that this many generations live in it.

    Left alone, one of the story's would live for more than a minute.
    """
    deadline = time.monotonic() + 60
    while stack.metric("nv_trt_llm_request_metrics", request_type="active") != count:
        assert time.monotonic() < deadline, stack.metric("nv_trt_llm_request_metrics")
        time.sleep(0.05)


def test_readiness_is_told(stack: Stack) -> None:
    assert httpx.get(f"{stack.url}/health/live").status_code == 200
    assert httpx.get(f"{stack.url}/health/ready").json() == {"status": "ready"}


def test_stopping_leaves_no_process_and_no_shared_memory(tmp_path: Path) -> None:
    stack = start_stack(tmp_path, "--engine=simulated")
    group = processes_using(stack.repository)
    assert group

    status = stop_stack(stack)

    assert status == 0
    assert not processes_using(stack.repository)


def processes_using(folder: Path) -> list[str]:
    """Return the processes whose command line names a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in command:
            found.append(process.name)
    return found
