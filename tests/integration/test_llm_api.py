"""What our model on the LLM API has beside the simulator: tensors of its own, adapters, guides."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tritonclient.grpc import service_pb2

from build_engine.repository import Repository
from gateway.embedded.tritonserver import TritonServer
from tests.bad_guides import BAD_GUIDES, SCHEMA
from tests.conftest import Figure
from tests.integration.inference import CONTRACT, Client, EngineError, read

END_ID = 2
AT_ONCE = 64
LONG = 1200
KINDS = {"guided_regex": "regex", "guided_grammar": "ebnf_grammar"}
RAW_GUIDES = [
    (guide.name, (KINDS[name], text))
    for guide in BAD_GUIDES
    for name, text in guide.fields.items()
    if name in KINDS
] + [
    (
        guide.name,
        ("json_schema", json.dumps(guide.fields["response_format"]["json_schema"]["schema"])),
    )
    for guide in BAD_GUIDES
    if guide.param == SCHEMA
]


@pytest.fixture(scope="module")
def client(llm_api_server: TritonServer) -> Client:
    return Client(llm_api_server)


@pytest.fixture(scope="module")
def greeting(openvino_repository: Repository) -> list[int]:
    tokenizer = Tokenizer.from_file(str(openvino_repository.tokenizer_dir / "tokenizer.json"))
    ids: list[int] = tokenizer.encode("Three ways to greet?", add_special_tokens=False).ids
    return ids


def test_the_model_config_is_the_contract_and_what_is_our_own(client: Client) -> None:
    config = client.stub.ModelConfig(service_pb2.ModelConfigRequest(name="tensorrt_llm")).config

    inputs = [tensor.name for tensor in config.input]
    outputs = [tensor.name for tensor in config.output]
    num_inputs, num_outputs = len(CONTRACT["inputs"]), len(CONTRACT["outputs"])
    assert inputs[:num_inputs] == [tensor["name"] for tensor in CONTRACT["inputs"]]
    assert outputs[:num_outputs] == [tensor["name"] for tensor in CONTRACT["outputs"]]
    assert inputs[num_inputs:] == ["num_top_log_probs", "num_prompt_log_probs", "lora_path"]
    assert len(outputs[num_outputs:]) == 5


@pytest.mark.parametrize("count", [1, 3])
def test_streamed_log_probs_are_those_of_the_whole_answer(
    client: Client, greeting: list[int], count: int
) -> None:
    asked: dict[str, Any] = {
        "end_id": END_ID,
        "num_return_sequences": count,
        "return_log_probs": True,
        "num_top_log_probs": 4,
        "runtime_top_p": 0.9,
    }

    whole = client.ask(greeting, 16, **asked)
    streamed = client.ask(greeting, 16, streaming=True, **asked)

    assert [answer.index for answer in whole] == list(range(count))
    for answer in whole:
        parts = [part for part in streamed if part.index == answer.index]
        assert [token for part in parts for token in part.ids] == answer.ids
        assert np.array_equal(
            parts[-1].tensors["output_log_probs"], answer.tensors["output_log_probs"]
        )
        for name in ("top_log_prob_ids", "top_log_probs"):
            pieces = [part.tensors[name] for part in parts]
            assert np.array_equal(np.concatenate(pieces, axis=1), answer.tensors[name])
        assert answer.tensors["top_log_prob_ids"].shape == (1, len(answer.ids), 4)
        assert answer.tensors["top_log_prob_ids"][0, :, 0].tolist() == answer.ids


def test_the_prompt_is_told_of_with_the_first_tokens(client: Client) -> None:
    first, *others = client.ask(
        [1000, 2000, 3000], 8, end_id=END_ID, streaming=True, num_prompt_log_probs=2
    )

    assert first.tensors["prompt_log_probs"].shape == (1, 2)
    assert first.tensors["prompt_top_log_prob_ids"][0, :, 0].tolist() == [2000, 3000]
    assert not any("prompt_log_probs" in other.tensors for other in others)


def test_an_adapter_is_read_from_its_folder_and_one_that_is_not_there_is_named(
    client: Client, greeting: list[int], tmp_path: Path
) -> None:
    adapter: dict[str, Any] = {"lora_task_id": 1, "end_id": END_ID}

    base = client.sequences(greeting, 16, end_id=END_ID)
    adapted = client.sequences(greeting, 16, lora_path=str(tmp_path), **adapter)

    assert base != adapted
    with pytest.raises(EngineError, match="LoRA task 1: the engine cannot find its folder"):
        client.ask(greeting, 16, lora_path=str(tmp_path / "absent"), **adapter)


def test_a_bad_guide_fails_alone_beside_all_that_the_engine_takes(
    client: Client, figure: Figure
) -> None:
    alone = client.sequences([7, 8, 9], LONG, end_id=END_ID)
    in_flight = [client.open([7, 8, 9], LONG, end_id=END_ID) for _ in range(AT_ONCE - 1)]
    while client.num_active() < AT_ONCE - 1:
        time.sleep(0.02)

    refused = {name for name, guide in RAW_GUIDES if is_refused(client, guide)}

    num_beside = client.num_active()
    answers = [{part.index: part.ids for part in read(call)} for call in in_flight]
    figure(f"llm_api: {len(refused)} guides of {len(RAW_GUIDES)} failed beside {num_beside}")
    assert num_beside == AT_ONCE - 1
    assert answers == [alone] * (AT_ONCE - 1)
    assert refused >= {"unknown type", "parenthesis", "breaks off"}


def is_refused(client: Client, guide: tuple[str, str]) -> bool:
    """Whether a guide sent past the gateway is refused as one; if not, it is answered."""
    kind, text = guide
    guided = {"guided_decoding_guide_type": kind, "guided_decoding_guide": text}
    try:
        return not client.ask([7, 8, 9], 2, end_id=END_ID, **guided)
    except EngineError as error:
        assert str(error).startswith("invalid guide: ")
        return True


@pytest.mark.parametrize(
    ("name", "value"),
    [("beam_width", 2), ("bad_words_list", [[5, 6], [2, -1]]), ("num_return_sequences", 65)],
)
def test_what_it_cannot_do_is_an_error_that_names_it(
    client: Client, greeting: list[int], name: str, value: Any
) -> None:
    with pytest.raises(EngineError, match=f"^unsupported tensor '{name}': "):
        client.ask(greeting, 4, **{name: value})


def test_a_call_that_is_cancelled_ends_in_the_engine(client: Client) -> None:
    call = client.open([7, 8, 9], 2000, streaming=True)
    next(read(call))

    call.cancel()

    while client.num_active():
        time.sleep(0.02)
