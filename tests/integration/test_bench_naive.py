"""The baseline of the gateway's own benchmark is honest: it answers as the gateway does."""

from pathlib import Path

import httpx
import llama_models.llama3

from bench.contenders import CONTENDERS, MODEL, running
from bench.cost import measure
from bench.load import Load
from build_engine.tokenizer import convert

NAIVE = next(contender for contender in CONTENDERS if contender.name == "naive")


def test_the_naive_gateway_streams_every_token_and_says_the_same_whole(tmp_path: Path) -> None:
    tokenizer = tmp_path / "llama-3.1"
    convert(Path(llama_models.llama3.__file__).parent / "tokenizer.model", tokenizer, "llama-3.1")

    with running(NAIVE, tokenizer) as gateway:
        cpu_s, outcome = measure(Load(gateway.url, MODEL, streams=4, tokens=50), gateway.pid)
        body = Load(gateway.url, MODEL, streams=1, tokens=3, stream=False).body()
        headers = {"Content-Type": "application/json"}
        whole = httpx.post(f"{gateway.url}/v1/chat/completions", content=body, headers=headers)

    assert (outcome.failures, cpu_s > 0) == ([], True)
    assert (outcome.tokens, outcome.events) == (4 * 50, 4 * (50 + 3))
    assert whole.json()["choices"][0]["message"]["content"] == "indowlementpect"
    assert whole.json()["usage"]["completion_tokens"] == 3
