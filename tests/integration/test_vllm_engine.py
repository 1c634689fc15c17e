"""vLLM behind the contract of TensorRT-LLM, in a real tritonserver; what generates is scripted.

The script (tests/models/vllm) does what vLLM's source says; the same on a GPU is in tests/live.
"""

import importlib.util
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.embedded.tritonserver import TritonServer
from tests.integration import inference
from tests.integration.inference import Client, EngineError, read

PROMPT = [5, 6, 7]
SAMPLED: dict[str, Any] = {"runtime_top_p": 0.9, "temperature": 1.0, "seed": 7}
ENDLESS = 4000
OWN_TENSORS = {"num_top_log_probs": "INT32", "num_prompt_log_probs": "INT32"}


def scripted() -> Any:
    """The module that generates, for the tokens it will."""
    folder = Path(__file__).parents[1] / "models/vllm/vllm/v1/engine"
    spec = importlib.util.spec_from_file_location("scripted_vllm", folder / "async_llm.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = scripted()


def tokens(count: int, prompt: list[int] = PROMPT, seed: int = 0) -> list[int]:
    return [SCRIPT.token(prompt, at, seed) for at in range(count)]


@pytest.fixture(scope="module")
def client(vllm_server: TritonServer) -> Client:
    inference._INPUTS.update(OWN_TENSORS)
    return Client(vllm_server)


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize(
    ("options", "seed"), [({}, 0), (SAMPLED, 7)], ids=["greedy takes no seed", "seeded"]
)
def test_tokens_are_those_of_the_engine(
    client: Client, options: dict[str, Any], seed: int, streaming: bool
) -> None:
    responses = client.ask(PROMPT, 24, streaming=streaming, **options)

    assert [token for one in responses for token in one.ids] == tokens(24, seed=seed)
    assert [one.is_final for one in responses].count(True) == 1


def test_sequences_draw_with_seeds_of_their_own(client: Client) -> None:
    sequences = client.sequences(PROMPT, 12, num_return_sequences=3, streaming=True, **SAMPLED)

    assert sequences == {index: tokens(12, seed=7 + index) for index in range(3)}


def test_a_seed_of_any_size_is_taken(client: Client) -> None:
    options = {**SAMPLED, "seed": 2**64 - 1}

    assert client.sequences(PROMPT, 4, **options) == {0: tokens(4, seed=2**63 - 1)}


def test_an_end_token_ends_an_answer_and_is_not_in_it(client: Client) -> None:
    expected = tokens(8)

    assert client.sequences(PROMPT, 24, end_id=expected[5], streaming=True)[0] == expected[:5]
    late = client.sequences(PROMPT, 24, end_id=expected[1], min_tokens=6)[0]
    assert len(late) == 24


@pytest.mark.parametrize("length", [1, 2], ids=["one token", "two tokens"])
def test_a_stop_word_ends_an_answer_and_is_in_it(client: Client, length: int) -> None:
    expected = tokens(8)
    word = expected[8 - length :]

    sequences = client.sequences(PROMPT, 24, stop_words_list=[[*word], [length, -1][:length]])

    assert sequences == {0: expected}


def test_log_probabilities_come_with_the_likeliest_tokens_and_the_prompts(client: Client) -> None:
    asked: dict[str, Any] = {
        "return_log_probs": True,
        "num_top_log_probs": 2,
        "num_prompt_log_probs": 1,
    }

    (whole,) = client.ask(PROMPT, 3, **asked)

    told = {name: tensor.tolist()[0] for name, tensor in whole.tensors.items()}
    assert told["output_log_probs"][0] == pytest.approx([SCRIPT.log_prob(t) for t in tokens(3)])
    assert told["top_log_prob_ids"] == [[49_151, 49_150]] * 3
    assert told["prompt_log_probs"] == pytest.approx([SCRIPT.log_prob(t) for t in PROMPT[1:]])
    assert told["prompt_top_log_prob_ids"] == [[49_151]] * 2


def test_a_prompt_that_came_before_is_told_to_be_cached(client: Client) -> None:
    prompt = list(range(100, 140))
    asked: dict[str, Any] = {"return_perf_metrics": True, "streaming": True}

    lasts = [client.ask(prompt, 4, **asked)[-1].tensors for _ in range(2)]

    assert [last["kv_cache_reused_blocks"].item() for last in lasts] == [0, 2]


def test_words_are_banned_and_logits_biased(client: Client) -> None:
    expected = tokens(3)
    banned = client.sequences(PROMPT, 3, bad_words_list=[[expected[1]], [1]])
    biased = client.sequences(PROMPT, 3, embedding_bias=[0.0, 0.0, 5.0])

    assert banned == {0: [expected[0], expected[1] + 1, expected[2]]}
    assert biased == {0: [2, 2, 2]}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "beams": ({"beam_width": 2}, "unsupported tensor 'beam_width'"),
    "temperature": ({**SAMPLED, "temperature": 3.0}, "unsupported tensor 'temperature'"),
    "penalty": ({"frequency_penalty": 2.5}, "unsupported tensor 'frequency_penalty'"),
    "too many": ({"num_return_sequences": 65}, "unsupported tensor 'num_return_sequences'"),
    "adapter": ({"lora_task_id": 3}, "unsupported tensor 'lora_task_id'"),
    "guide": (
        {"guided_decoding_guide_type": "regex", "guided_decoding_guide": "(((("},
        "Failed to transform the guide",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_by_name_and_leaves_others_alone(
    client: Client, case: str
) -> None:
    options, reason = REFUSED[case]
    other = client.open(PROMPT, 200, streaming=True)

    with pytest.raises(EngineError, match=f"^{re.escape(reason)}"):
        client.ask(PROMPT, 4, **options)

    assert [token for one in read(other) for token in one.ids] == tokens(200)


def test_a_token_outside_the_vocabulary_is_refused(client: Client) -> None:
    with pytest.raises(EngineError, match="tensor 'input_ids'"):
        client.ask([5, 1_000_000], 4)


def test_what_the_engine_ends_by_itself_is_an_error(client: Client) -> None:
    with pytest.raises(EngineError, match="vLLM ended the request: abort"):
        client.ask([5, SCRIPT.IS_ABORTED], 4)


@pytest.mark.parametrize("how", ["cancelled", "stopped"])
def test_a_caller_that_leaves_frees_the_engine(client: Client, how: str) -> None:
    running = client.open(PROMPT, ENDLESS, "leaves", streaming=True)
    next(read(running))

    if how == "cancelled":
        running.cancel()
    else:
        client.ask([0], 0, "leaves", stop=True)

    deadline = time.monotonic() + 60
    while client.num_active() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert client.num_active() == 0


def test_many_streams_at_once_are_each_their_own(client: Client) -> None:
    prompts = [[5, number] for number in range(40)]
    calls = [client.open(prompt, 100, streaming=True) for prompt in prompts]

    answers = [[token for one in read(call) for token in one.ids] for call in calls]

    assert answers == [tokens(100, prompt) for prompt in prompts]


def test_when_vllm_dies_callers_are_told_and_the_server_is_started_again(
    client: Client, vllm_server: TritonServer
) -> None:
    before = vllm_server.pid
    other = client.open(PROMPT, ENDLESS, streaming=True)
    running = read(other)
    next(running)

    with pytest.raises(EngineError, match="the process of vLLM ended with code"):
        client.ask([5, SCRIPT.DIES], 4)
    with pytest.raises(EngineError, match="the process of vLLM ended with code"):
        list(running)

    deadline = time.monotonic() + 60
    while not is_another(vllm_server, before):
        assert time.monotonic() < deadline, vllm_server.log_tail()
        time.sleep(0.1)
    assert client.sequences(PROMPT, 4) == {0: tokens(4)}


def is_another(server: TritonServer, before: int) -> bool:
    """Whether the server is ready in another process than before."""
    try:
        return server.pid != before and server.is_ready()
    except RuntimeError:  # none runs now
        return False
