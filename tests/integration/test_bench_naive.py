"""The baseline of the gateway's own benchmark is honest: it answers as the gateway does."""

from pathlib import Path

import httpx

from bench.contenders import CONTENDERS, MODEL, running
from bench.cost import measure
from bench.load import Load

NAIVE = next(contender for contender in CONTENDERS if contender.name == "naive")


def test_the_naive_gateway_streams_every_token_and_says_the_same_whole(llama3_folder: Path) -> None:
    with running(NAIVE, llama3_folder) as gateway:
        cpu_s, outcome = measure(Load(gateway.url, MODEL, streams=4, tokens=50), gateway.pid)
        body = Load(gateway.url, MODEL, streams=1, tokens=3, stream=False).body()
        headers = {"Content-Type": "application/json"}
        whole = httpx.post(f"{gateway.url}/v1/chat/completions", content=body, headers=headers)

    assert (outcome.failures, cpu_s > 0) == ([], True)
    assert (outcome.tokens, outcome.events) == (4 * 50, 4 * (50 + 3))
    assert whole.json()["choices"][0]["message"]["content"] == "indowlementpect"
    assert whole.json()["usage"]["completion_tokens"] == 3
