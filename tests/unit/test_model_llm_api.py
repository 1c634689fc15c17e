"""The engine on the LLM API, over a stand-in that behaves as NVIDIA's source says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from backend.contract import Guide, Lora, Refused, Request
from backend.engines.llm_api.engine import LlmApiEngine
from backend.engines.llm_api.sampling import can_penalize, check, sampling_params
from backend.loop import Loop

from tests.unit.test_model_loop import PATIENCE_S, Caller, asking, submit

ANSWERS: list[dict[str, Any]] = [
    {"prompt": [1], "answer": [5, 6, 7]},
    {"prompt": [2], "answer": [5, 6, 7, 8], "deltas": [3, 1], "alternatives": [[9], [10, 11]]},
    {"prompt": [3], "answer": [5, 6], "kv_cache_reused_blocks": 2},
    {"prompt": [4], "answer": [5] * 6, "fault": {"kind": "error", "after": 1, "message": "oh"}},
    {"prompt": [8], "answer": [5] * 6, "fault": {"kind": "stall", "after": 1, "seconds": 600}},
    {"prompt": [9, 8, 7], "answer": [5, 6]},
]
SAMPLED: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "seed": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llm_api")
    (folder / "weights").mkdir()
    script = {"answers": ANSWERS}
    (folder / "weights" / "simulator.json").write_text(json.dumps(script))
    arguments = {"model": "weights", "enable_lora": True, "max_num_tokens": 64}
    (folder / "llm.yaml").write_text(yaml.safe_dump(arguments))
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[LlmApiEngine]:
    yield LlmApiEngine.load(folder / "llm.yaml", max_num_seqs=8, vocab_size=1000)


@pytest.fixture(scope="module")
def loop(engine: LlmApiEngine) -> Iterator[Loop]:
    loop = Loop(engine, report=lambda _: None)
    yield loop
    loop.close()


def kept(caller: Caller) -> dict[int, list[int]]:
    """Token ids by sequence, once all were sent."""
    assert caller.has_ended.wait(PATIENCE_S)
    assert caller.errors == []
    sequences: dict[int, list[int]] = {}
    for delta in caller.deltas:
        sequences.setdefault(delta.index, []).extend(delta.ids)
    return sequences


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({"end_id": 99}, [5, 6, 7]),
        ({"end_id": 6}, [5]),
        ({"stop_words": ((6,),)}, [5, 6]),
        ({"stop_words": ((6, 7), (8,))}, [5, 6, 7]),
        ({"max_tokens": 2}, [5, 6]),
        ({"end_id": 5, "min_tokens": 2, "stop_words": ((7,),)}, [5, 6, 7]),
    ],
    ids=str,
)
def test_an_answer_ends_where_the_contract_says(
    loop: Loop, streaming: bool, options: dict[str, Any], ids: list[int]
) -> None:
    caller = submit(loop, asking(1, streaming=streaming, **options))

    assert kept(caller) == {0: ids}


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_several_sequences_are_each_told_once(
    loop: Loop, streaming: bool, sampling: dict[str, Any]
) -> None:
    request = asking(2, end_id=99, num_return_sequences=3, streaming=streaming, **sampling)

    assert kept(submit(loop, request)) == {0: [5, 6, 7, 8], 1: [9], 2: [10, 11]}


def test_streamed_log_probs_are_those_of_the_whole_answer(loop: Loop) -> None:
    asked: dict[str, Any] = {
        "end_id": 99,
        "num_return_sequences": 3,
        "return_log_probs": True,
        "num_top_log_probs": 2,
        **SAMPLED,
    }

    whole = submit(loop, asking(2, **asked))
    streamed = submit(loop, asking(2, streaming=True, **asked))

    kept(whole)
    kept(streamed)
    for delta in whole.deltas:
        parts = [part for part in streamed.deltas if part.index == delta.index]
        assert parts[-1].log_probs == delta.log_probs
        assert [top for part in parts for top in part.tops] == list(delta.tops)
        assert [top[0] for top in delta.tops] == list(zip(delta.ids, delta.log_probs, strict=True))
        assert {len(top) for top in delta.tops} == {2}


def test_the_prompt_is_told_of_once_place_by_place(loop: Loop) -> None:
    request = asking(9, 8, 7, end_id=99, streaming=True, num_prompt_log_probs=0)

    caller = submit(loop, request)

    kept(caller)
    told = [delta.prompt for delta in caller.deltas]
    assert told[0] is not None
    assert told[0].log_probs == [-9 / 89, -8 / 89]
    assert list(told[0].tops) == [[], []]
    assert told[1:] == [None] * (len(told) - 1)


def test_reused_blocks_are_counted_by_the_engine(loop: Loop) -> None:
    caller = submit(loop, asking(3, end_id=99, return_perf_metrics=True))

    kept(caller)
    metrics = caller.deltas[-1].perf_metrics
    assert metrics is not None
    assert metrics.kv_cache_reused_blocks == 2


def test_a_caller_that_has_gone_is_aborted_in_the_engine(loop: Loop, engine: LlmApiEngine) -> None:
    caller, executor = submit(loop, asking(8, streaming=True)), engine._llm._executor

    caller.is_gone = True

    assert caller.has_ended.wait(PATIENCE_S)
    while executor._active:
        pass
    assert not engine.has_work


def test_a_request_that_fails_takes_no_other_with_it(loop: Loop) -> None:
    failing, fine = submit(loop, asking(4)), submit(loop, asking(1, end_id=99))

    assert kept(fine) == {0: [5, 6, 7]}
    assert failing.has_ended.wait(PATIENCE_S)
    assert [str(error) for error in failing.errors] == ["oh"]


def test_a_guide_that_does_not_compile_is_refused_and_leaves_others_alone(loop: Loop) -> None:
    refused = submit(loop, asking(1, guide=Guide("regex", "((((")))
    fine = submit(loop, asking(1, end_id=99, guide=Guide("regex", "[a-z]+")))

    assert kept(fine) == {0: [5, 6, 7]}
    assert refused.has_ended.wait(PATIENCE_S)
    assert isinstance(refused.errors[0], Refused)
    assert str(refused.errors[0]).startswith("invalid guide: ")


def test_an_adapter_is_loaded_from_its_folder(loop: Loop, folder: Path) -> None:
    caller = submit(loop, asking(2, end_id=99, lora=Lora(1, str(folder))))

    assert kept(caller) == {0: [9]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_width": 2}, "unsupported tensor 'beam_width'"),
        ({"bad_words": ((3, 4),)}, "unsupported tensor 'bad_words_list'"),
        ({"num_return_sequences": 9}, "unsupported tensor 'num_return_sequences': at most 8"),
        ({"lora": Lora(1, "")}, "'lora_path' must come with"),
        ({"lora": Lora(1, "/absent")}, "LoRA task 1: the engine cannot find its folder"),
        ({"input_ids": (1000,)}, "'input_ids' holds 1000"),
        ({"temperature": -1.0, "top_k": 5}, None),
    ],
    ids=str,
)
def test_what_the_engine_cannot_do_is_refused_by_name(
    engine: LlmApiEngine, options: dict[str, Any], message: str | None
) -> None:
    request = Request(**{"id": "", "input_ids": (1,), "max_tokens": 4, **options})

    if message is None:
        engine.check({}, request)
    else:
        with pytest.raises(Refused, match=message):
            engine.check({}, request)


@pytest.mark.parametrize(
    ("version", "sampler", "does"),
    [
        ("1.2.1", "auto", False),
        ("1.2.1", "SamplerType.TRTLLMSampler", True),
        ("1.3.0rc29", "auto", True),
        ("1.4.0rc1", "auto", True),
    ],
)
def test_penalties_are_for_samplers_that_have_them(version: str, sampler: str, does: bool) -> None:
    asked: list[dict[str, Any]] = [
        {"presence_penalty": 1.0},
        {"repetition_penalty": 1.5},
        {"bad_words": ((3,),)},
    ]
    does_it = can_penalize(version, sampler)

    refused = []
    for options in asked:
        try:
            check(asking(1, **options), can_penalize=does_it)
        except Refused as error:
            refused.append(str(error).split("'")[1])

    names = [] if does else ["presence_penalty", "repetition_penalty", "bad_words_list"]
    assert refused == names


def test_a_prompt_beyond_a_batch_is_the_engines_to_refuse(loop: Loop) -> None:
    caller = submit(loop, asking(*[1] * 65))

    assert caller.has_ended.wait(PATIENCE_S)
    assert "should not exceed max_num_tokens (64)" in str(caller.errors[0])


def test_every_part_of_a_request_has_its_parameter() -> None:
    request = asking(
        1,
        max_tokens=7,
        end_id=2,
        stop_words=((3,), (4, 5)),
        num_return_sequences=2,
        temperature=0.5,
        top_k=40,
        top_p=0.25,
        repetition_penalty=1.5,
        presence_penalty=0.125,
        frequency_penalty=-0.5,
        min_tokens=3,
        seed=11,
        bad_words=((6,), (7,)),
        embedding_bias=np.zeros(4, np.float32),
        guide=Guide("ebnf_grammar", "root ::= 'a'"),
        return_log_probs=True,
        num_top_log_probs=4,
        num_prompt_log_probs=0,
    )

    params = sampling_params(request)

    assert (params.max_tokens, params.end_id, params.stop_token_ids) == (7, 2, [3])
    assert (params.n, params.temperature, params.top_k, params.top_p) == (2, 0.5, 40, 0.25)
    assert (params.repetition_penalty, params.presence_penalty) == (1.5, 0.125)
    assert (params.frequency_penalty, params.min_tokens, params.seed) == (-0.5, 3, 11)
    assert (params.bad_token_ids, params.logprobs, params.prompt_logprobs) == ([6, 7], 4, 1)
    assert params.embedding_bias is request.embedding_bias
    assert params.guided_decoding.grammar == "root ::= 'a'"
