"""The engines in Python keep the contract of TensorRT-LLM, in a real tritonserver: OpenVINO with a
real model, and the LLM API over a stand-in."""

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import openvino
import openvino_genai
import pytest
from tokenizers import Tokenizer
from tritonclient.grpc import service_pb2

from build_engine.repository import Repository
from gateway.embedded.tritonserver import TritonServer
from tests.integration.inference import CONTRACT, Client, EngineError, read

SHARED_CONTRACT = Path(__file__).parents[3] / "shared" / "data" / "tensor-contract-trtllm-1.2.json"
VARIABLES = {
    "${logits_datatype}": "FP32",
    "${encoder_input_features_data_type}": "FP16",
    "${prompt_embedding_table_data_type}": "FP16",
}
END_ID = 2
SAMPLED: dict[str, Any] = {"runtime_top_p": 0.9, "temperature": 1.0, "seed": 7}
ENDLESS = 4000


@pytest.fixture(scope="module")
def client(openvino_server: TritonServer) -> Client:
    return Client(openvino_server)


@pytest.fixture(scope="module")
def tokenizer(openvino_repository: Repository) -> Tokenizer:
    return Tokenizer.from_file(str(openvino_repository.tokenizer_dir / "tokenizer.json"))


@pytest.fixture(scope="module")
def prompt(tokenizer: Tokenizer) -> list[int]:
    return chat(tokenizer, "Tell me about Rome.")


@pytest.fixture(scope="module")
def greedy(client: Client, prompt: list[int]) -> list[int]:
    """The first 24 tokens of the likeliest answer."""
    return client.sequences(prompt, 24)[0]


@pytest.fixture(scope="module", params=["openvino", "llm_api"])
def each(request: pytest.FixtureRequest) -> Client:
    """A server of each engine that keeps what TensorRT-LLM keeps, whatever it says."""
    server: TritonServer = request.getfixturevalue(f"{request.param}_server")
    return Client(server)


@pytest.fixture(scope="module")
def likeliest(each: Client, prompt: list[int]) -> list[int]:
    """The first 24 tokens of its likeliest answer."""
    return each.sequences(prompt, 24)[0]


def chat(tokenizer: Tokenizer, text: str) -> list[int]:
    rendered = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    ids: list[int] = tokenizer.encode(rendered, add_special_tokens=False).ids
    return ids


def first_new(ids: list[int], start: int) -> int:
    """A position, not before `start`, whose token did not occur earlier."""
    return next(at for at in range(start, len(ids)) if ids[at] not in ids[:at])


def wait_active(client: Client, count: int, patience_s: float) -> bool:
    """Wait until so many generations live; the gauge that tells is a little late."""
    deadline = time.monotonic() + patience_s
    while client.num_active() != count and time.monotonic() < deadline:
        time.sleep(0.02)
    return client.num_active() == count


def wait_idle(client: Client, patience_s: float) -> bool:
    return wait_active(client, 0, patience_s)


def described(tensor: Any) -> dict[str, Any]:
    """A tensor of Triton's ModelConfig in the words of the contract."""
    is_input = hasattr(tensor, "optional")
    entry = {
        "name": tensor.name,
        "data_type": service_pb2.model__config__pb2.DataType.Name(tensor.data_type)[5:],
        "dims": list(tensor.dims),
        "optional": is_input and tensor.optional,
        "allow_ragged_batch": is_input and tensor.allow_ragged_batch,
    }
    return entry | ({"reshape": list(tensor.reshape.shape)} if tensor.HasField("reshape") else {})


def expected(tensor: dict[str, Any]) -> dict[str, Any]:
    data_type = VARIABLES.get(tensor["data_type"], tensor["data_type"])
    return {"optional": False, "allow_ragged_batch": False, **tensor, "data_type": data_type}


def test_the_model_config_is_the_contract_of_tensorrt_llm(client: Client) -> None:
    request = service_pb2.ModelConfigRequest(name="tensorrt_llm")

    config = client.stub.ModelConfig(request).config

    assert [described(tensor) for tensor in config.input] == list(map(expected, CONTRACT["inputs"]))
    assert [described(tensor) for tensor in config.output] == list(
        map(expected, CONTRACT["outputs"])
    )
    assert config.model_transaction_policy.decoupled
    assert config.max_batch_size > 0
    (group,) = config.instance_group
    assert (group.count, group.Kind.Name(group.kind)) == (1, CONTRACT["instance_kind"])
    assert int(config.parameters["max_seq_len"].string_value) == 8192


@pytest.mark.skipif(not SHARED_CONTRACT.is_file(), reason="only beside the shared reference")
def test_the_committed_contract_is_the_reference() -> None:
    assert json.loads(SHARED_CONTRACT.read_text())["tensorrt_llm"] == CONTRACT


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "seeded"])
def test_streamed_deltas_are_the_whole_answer_in_pieces(
    each: Client, prompt: list[int], sampling: dict[str, Any]
) -> None:
    streamed = each.ask(prompt, 24, streaming=True, end_id=END_ID, **sampling)
    whole = each.ask(prompt, 24, streaming=False, end_id=END_ID, **sampling)

    assert len(whole) == 1
    assert len(streamed) == 24
    assert [token for delta in streamed for token in delta.ids] == whole[0].ids
    assert [delta.is_final for delta in streamed] == [False] * 23 + [True]


def test_greedy_tokens_equal_those_of_openvino_without_triton(
    openvino_repository: Repository, prompt: list[int], greedy: list[int]
) -> None:
    model = openvino_repository.path / "tensorrt_llm" / "1" / "model.gguf"
    precision = openvino.Type.f32
    pipeline = openvino_genai.LLMPipeline(
        model,
        "CPU",
        INFERENCE_PRECISION_HINT=precision,
        KV_CACHE_PRECISION=precision,
        DYNAMIC_QUANTIZATION_GROUP_SIZE="0",
    )

    config = openvino_genai.GenerationConfig(max_new_tokens=24, do_sample=False)
    alone = pipeline.generate(openvino.Tensor(np.array([prompt], np.int64)), config)

    assert alone.tokens[0] == greedy


def test_the_end_id_is_not_in_the_output(
    each: Client, prompt: list[int], likeliest: list[int]
) -> None:
    at = first_new(likeliest, 5)

    streamed = each.ask(prompt, 24, end_id=likeliest[at], streaming=True)

    assert [token for delta in streamed for token in delta.ids] == likeliest[:at]
    assert streamed[-1].is_final
    assert streamed[-1].ids == []


@pytest.mark.parametrize("length", [1, 2], ids=["one token", "two tokens"])
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
def test_stop_words_are_in_the_output(
    each: Client, prompt: list[int], likeliest: list[int], length: int, streaming: bool
) -> None:
    end = first_new(likeliest, 5) + 1
    word = likeliest[end - length : end]
    words = [[*word, 0], [length, -1, -1][: length + 1]]

    sequences = each.sequences(prompt, 24, stop_words_list=words, streaming=streaming)

    assert sequences == {0: likeliest[:end]}


def test_no_end_counts_before_min_tokens(
    each: Client, prompt: list[int], likeliest: list[int]
) -> None:
    ids = each.sequences(prompt, 24, end_id=likeliest[0], min_tokens=6)[0]

    assert len(ids) >= 6


def test_a_seed_repeats_an_answer_and_another_changes_it(each: Client, prompt: list[int]) -> None:
    answers = [each.sequences(prompt, 16, **{**SAMPLED, "seed": seed})[0] for seed in (1, 1, 2)]

    assert answers[0] == answers[1]
    assert answers[0] != answers[2]


def test_sampling_needs_an_open_top_k_or_top_p(
    each: Client, prompt: list[int], likeliest: list[int]
) -> None:
    closed: list[dict[str, Any]] = [
        {"temperature": 2.0},
        {"runtime_top_k": 1},
        {"temperature": 0.0, "runtime_top_p": 1},
    ]

    answers = [each.sequences(prompt, 24, seed=9, **options)[0] for options in closed]

    assert answers == [likeliest] * 3


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
def test_several_sequences_differ_and_carry_their_index(
    each: Client, prompt: list[int], streaming: bool
) -> None:
    alone = each.sequences(prompt, 12, **SAMPLED)[0]

    responses = each.ask(prompt, 12, num_return_sequences=3, streaming=streaming, **SAMPLED)

    sequences: dict[int, list[int]] = {}
    for response in responses:
        sequences.setdefault(response.index, []).extend(response.ids)
    assert sorted(sequences) == [0, 1, 2]
    assert sequences[0] == alone
    assert len({tuple(ids) for ids in sequences.values()}) == 3
    assert [response.is_final for response in responses].count(True) == 1


def test_log_probs_come_with_every_delta_for_all_tokens_so_far(
    each: Client, prompt: list[int]
) -> None:
    streamed = each.ask(prompt, 8, streaming=True, return_log_probs=True)
    (whole,) = each.ask(prompt, 8, return_log_probs=True)

    expected = whole.tensors["output_log_probs"]
    lists = [delta.tensors["output_log_probs"] for delta in streamed]
    assert [listed.shape for listed in lists] == [(1, 1, at + 1) for at in range(8)]
    assert lists[-1] == pytest.approx(expected)
    assert np.array_equal(lists[2], lists[-1][:, :, :3])
    assert expected.max() < 0
    assert streamed[-1].tensors["cum_log_probs"].item() == pytest.approx(expected.sum())


def test_counts_and_times_come_when_asked_for(each: Client, prompt: list[int]) -> None:
    asked: dict[str, Any] = {
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
        "return_perf_metrics": True,
    }

    streamed = each.ask(prompt, 8, streaming=True, **asked)

    assert {r.tensors["num_input_tokens"].item() for r in streamed} == {len(prompt)}
    assert sum(r.tensors["num_output_tokens"].item() for r in streamed) == 8
    last = streamed[-1].tensors
    order = ["arrival_time_ns", "first_scheduled_time_ns", "first_token_time_ns"]
    times = [last[name].item() for name in [*order, "last_token_time_ns"]]
    assert 0 < times[0] < times[1] < times[2] < times[3]


def test_reused_blocks_are_not_told_where_the_engine_does_not_know(
    client: Client, prompt: list[int]
) -> None:
    (whole,) = client.ask(prompt, 4, return_perf_metrics=True)

    assert "kv_cache_reused_blocks" not in whole.tensors


def test_the_prompt_is_echoed_only_where_asked_for_and_not_streaming(
    each: Client, prompt: list[int], likeliest: list[int]
) -> None:
    whole = each.sequences(prompt, 4, exclude_input_in_output=False)[0]
    streamed = each.sequences(prompt, 4, exclude_input_in_output=False, streaming=True)[0]

    assert whole == [*prompt, *likeliest[:4]]
    assert streamed == likeliest[:4]


GUIDES = {
    "regex": (r"[0-9]{3}-[a-f]{2}", re.compile(r"[0-9]{3}-[a-f]{2}")),
    "ebnf_grammar": ('root ::= "yes" | "no"', re.compile("yes|no")),
}


@pytest.mark.parametrize("kind", GUIDES)
def test_a_guide_holds_even_at_a_high_temperature(
    client: Client, tokenizer: Tokenizer, prompt: list[int], kind: str
) -> None:
    guide, pattern = GUIDES[kind]
    sampling = {**SAMPLED, "temperature": 3.0}

    ids = client.sequences(prompt, 32, end_id=END_ID, **sampling, **guided(kind, guide))[0]

    assert pattern.fullmatch(tokenizer.decode(ids))


def test_a_json_schema_holds(client: Client, tokenizer: Tokenizer) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    prompt = chat(tokenizer, "Name a person as JSON.")

    ids = client.sequences(prompt, 96, end_id=END_ID, **guided("json_schema", json.dumps(schema)))[
        0
    ]

    jsonschema.validate(json.loads(tokenizer.decode(ids)), schema)


def guided(kind: str, guide: str) -> dict[str, str]:
    return {"guided_decoding_guide_type": kind, "guided_decoding_guide": guide}


BAD_GUIDES = [
    ("json_schema", '{"type": "nonsense"}', 'Unsupported type "nonsense"'),
    ("regex", "((((", "parenthesis is not closed"),
    ("ebnf_grammar", "root ::= foo", '"foo" is not defined'),
]


@pytest.mark.parametrize(("kind", "guide", "reason"), BAD_GUIDES, ids=lambda value: value[:12])
def test_a_guide_that_does_not_compile_is_refused_and_leaves_others_alone(
    client: Client, prompt: list[int], greedy: list[int], kind: str, guide: str, reason: str
) -> None:
    in_flight = client.open(prompt, 24, streaming=True)
    first = next(read(in_flight))

    with pytest.raises(EngineError, match=f"^invalid guide: [^/]*{re.escape(reason)}") as refusal:
        client.ask(prompt, 8, **guided(kind, guide))

    assert ".cc" not in str(refusal.value)
    rest = [token for delta in read(in_flight) for token in delta.ids]
    assert first.ids + rest == greedy


BOMB = '{"type": "string", "pattern": "^(([a-z]{1,100}){1,100}){1,100}$"}'


def test_a_guide_that_takes_too_long_is_refused_while_others_are_answered(
    client: Client, prompt: list[int], greedy: list[int]
) -> None:
    long = client.open(prompt, ENDLESS, "long", streaming=True)
    tokens = read(long)
    next(tokens)
    bomb = client.open(prompt, 8, "bomb", **guided("json_schema", BOMB))

    answers = [client.sequences(prompt, 24)[0] for _ in range(3)]

    with pytest.raises(EngineError, match="invalid guide: it takes more than 10 s to compile"):
        list(read(bomb))
    assert answers == [greedy] * 3
    assert next(tokens).ids
    long.cancel()


UNSUPPORTED: dict[str, Any] = {
    "beam_width": 2,
    "bad_words_list": [[5], [1]],
    "embedding_bias": [0.0, 1.0],
    "draft_input_ids": [1, 2],
    "lora_task_id": 1,
    "return_context_logits": True,
    "runtime_top_p_decay": 0.5,
    "frequency_penalty": 2.5,
    "num_return_sequences": 65,
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_tensor_that_cannot_be_honoured_is_an_error_that_names_it(
    client: Client, prompt: list[int], name: str
) -> None:
    with pytest.raises(EngineError, match=f"^unsupported tensor '{name}': .+"):
        client.ask(prompt, 4, **{name: UNSUPPORTED[name]})


NEUTRAL: dict[str, Any] = {
    "beam_width": 1,
    "len_penalty": 1.0,
    "early_stopping": True,
    "runtime_top_p_decay": 1.0,
    "return_context_logits": False,
    "bad_words_list": [[], []],
    "embedding_bias": [0.0] * 8,
    "pad_id": 2,
}


def test_tensors_that_ask_for_nothing_are_fine(
    each: Client, prompt: list[int], likeliest: list[int]
) -> None:
    assert each.sequences(prompt, 4, **NEUTRAL) == {0: likeliest[:4]}


def test_a_prompt_that_fills_the_context_is_refused(client: Client) -> None:
    message = r"Prompt length \(8192\) exceeds maximum input length \(8191\)\."

    with pytest.raises(EngineError, match=message):
        client.ask([5] * 8192, 4)


def test_a_token_outside_the_vocabulary_is_refused(each: Client) -> None:
    with pytest.raises(EngineError, match="tensor 'input_ids' holds 1000000"):
        each.ask([5, 1_000_000], 4)


def test_the_stop_tensor_ends_the_generation_with_the_same_id(
    each: Client, prompt: list[int]
) -> None:
    running = read(each.open(prompt, ENDLESS, "to-stop", streaming=True))
    next(running)

    assert each.ask([0], 0, "to-stop", stop=True) == []

    rest = list(running)
    assert len(rest) < ENDLESS / 10
    assert (rest[-1].ids, rest[-1].is_final) == ([], True)
    assert wait_idle(each, patience_s=60)


def test_cancelling_the_call_ends_the_generation(each: Client, prompt: list[int]) -> None:
    running = each.open(prompt, ENDLESS, streaming=True)
    next(read(running))

    running.cancel()

    assert wait_idle(each, patience_s=60)


def test_a_short_request_joins_and_finishes_while_a_long_one_runs(
    each: Client, prompt: list[int], likeliest: list[int]
) -> None:
    long = each.open(prompt, ENDLESS, "long", streaming=True)
    next(read(long))

    assert each.sequences(prompt, 24) == {0: likeliest}

    assert wait_active(each, 1, patience_s=60)
    long.cancel()


def test_a_batch_changes_no_tokens(each: Client, tokenizer: Tokenizer) -> None:
    prompts = [chat(tokenizer, f"Tell me about {city}.") for city in ("Rome", "Oslo", "Lima")]
    alone = [each.sequences(ids, 16)[0] for ids in prompts]
    together: dict[int, list[int]] = {}

    def run(at: int) -> None:
        together[at] = each.sequences(prompts[at], 16)[0]

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [together[at] for at in range(len(prompts))] == alone
