"""The build against what TensorRT-LLM's own source does: it changes limits, refuses combinations,
names tensors by release. The stand-ins follow that source (see tests/stand_ins/builder.py)."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_engine.artifacts import engine_problems
from build_engine.commands import EXAMPLES, Toolbox, find_examples
from build_engine.gpus import GPUS
from build_engine.outcome import built_limits, expected_facts, notes
from build_engine.production import Place, configs, facts_of
from build_engine.spec import EngineSpec, SpecError, load_spec, parse_spec
from build_engine.versions import RELEASES, flags_of, release_numbered
from tests.stand_ins.builder import BuildRefused
from tests.stand_ins.repository import config_of

HEADS = {"id": "a/eagle", "revision": "1" * 40}
PLACE = Place(Path("/engines/repository"))
BASE = load_spec("llama-3.1-8b-h100-bf16")
SMALL = {"max_batch_size": 128, "max_input_len": 256, "max_seq_len": 512, "max_num_tokens": 8192}


def problems_of(spec: EngineSpec, config: dict[str, Any]) -> list[str]:
    """What is said of an engine with that config.json and as many ranks as the spec has."""
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        for rank in range(spec.parallel.world_size):
            Path(folder, f"rank{rank}.engine").write_bytes(b"engine")
        return list(engine_problems(spec, Path(folder)))


# What builder.py makes of 512 tokens, 8,192 a step and a batch of 128 (008b2b8, `build`).
DRAFTING = {
    "lookahead 7, 7, 7": ({"mode": "lookahead"}, 512 + 83, 128 * (83 + 1)),
    "lookahead 3, 3, 3": (
        {"mode": "lookahead", "window": 3, "ngram": 3, "verification_set": 3}, 512 + 11, 8192,
    ),
    "eagle 63": (
        {"mode": "eagle", "max_draft_len": 63, "eagle": HEADS}, 512 + 63 + 4, 8192,
    ),
    "eagle 100": (
        {"mode": "eagle", "max_draft_len": 100, "eagle": HEADS}, 512 + 100 + 4, 128 * 101,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DRAFTING)
def test_an_engine_that_drafts_is_taken_with_the_limits_that_upstream_gives_it(case: str) -> None:
    drafting, seq_len, num_tokens = DRAFTING[case]
    spec = BASE.replaced(limits=SMALL, speculative=drafting)

    config = config_of(spec)

    built = config["build_config"]
    assert (built["max_seq_len"], built["max_num_tokens"]) == (seq_len, num_tokens)
    assert problems_of(spec, config) == []


def test_an_engine_that_drafts_but_was_not_lengthened_is_refused() -> None:
    spec = BASE.replaced(limits=SMALL, speculative={"mode": "lookahead"})
    config = config_of(spec)
    config["build_config"]["max_seq_len"] = 512

    assert problems_of(spec, config) == [
        "engine: max_seq_len is 512 in config.json, 595 by the spec"
    ]


# check_max_num_tokens: 0.9 and 0.10 cut to the prompts of a whole batch, later ones to sequences.
CUT = {"0.9.0": 256, "0.10.0": 256, "0.11.0": 2048, "0.19.0": 2048, "1.2.1": 2048}


@pytest.mark.parametrize("number", CUT)
def test_an_engine_whose_max_num_tokens_upstream_cut_is_taken(number: str) -> None:
    limits = SMALL | {"max_batch_size": 1, "max_seq_len": 2048}
    spec = load_spec("llama-3-8b-a100-fp16").replaced(tensorrt_llm=number, limits=limits)

    config = config_of(spec)

    assert config["build_config"]["max_num_tokens"] == CUT[number]
    assert problems_of(spec, config) == []
    assert any(f"makes {CUT[number]:,} of 8,192" in note for note in notes(spec))


@st.composite
def specs(draw: st.DrawFn) -> EngineSpec:
    """Any spec that is accepted, in what builder.py looks at."""
    weights = draw(st.sampled_from(["none", "fp8", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4"]))
    kv_cache = draw(st.sampled_from(["auto", "fp8", "int8"]))
    paged = draw(st.booleans())
    batch, input_len = draw(st.integers(1, 600)), draw(st.integers(1, 4000))
    content = load_spec("llama-3-8b-a100-fp16").model_dump() | {
        "tensorrt_llm": draw(st.sampled_from([release.number for release in RELEASES])),
        "gpu": draw(st.sampled_from(["a100-80g", "l40s-48g", "h100-80g", "b200-180g"])),
        "quantization": {"weights": weights, "kv_cache": kv_cache},
        "parallel": {"tensor": draw(st.sampled_from([1, 2, 16]))},
        "limits": {
            "max_batch_size": batch,
            "max_input_len": input_len,
            "max_seq_len": input_len + draw(st.integers(1, 4000)),
            "max_num_tokens": max(batch, input_len) + draw(st.integers(0, 20_000)),
        },
        "plugins": {
            "paged_context_fmha": paged,
            "fp8_context_fmha": draw(st.booleans()),
            "reduce_fusion": draw(st.booleans()),
        },
        "serving": {"kv_cache_reuse": paged, "chunked_context": paged},
        "speculative": draw(
            st.sampled_from(
                [{}, {"mode": "lookahead"}, {"mode": "eagle", "max_draft_len": 63, "eagle": HEADS}]
            )
        ),
    }
    return next(spec for spec in map(accepted, simplified(content)) if spec is not None)


def simplified(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A spec, then with ever more of it left to its defaults."""
    yield content
    parts = ("plugins", "speculative", "quantization", "serving", "parallel", "tensorrt_llm", "gpu")
    plain = load_spec("llama-3-8b-a100-fp16").model_dump() | {"gpu": "h100-80g"}
    for part in parts:
        content = content | {part: plain[part]}
        yield content


def accepted(content: dict[str, Any]) -> EngineSpec | None:
    try:
        return parse_spec(content, "spec")
    except SpecError:
        return None


@settings(max_examples=80, deadline=None)
@given(specs())
def test_whatever_a_spec_may_say_upstream_builds_and_we_take(spec: EngineSpec) -> None:
    major, minor = spec.card.compute_capability

    config = config_of(spec, sm=major * 10 + minor)

    assert problems_of(spec, config) == []
    assert facts_in(config, spec) == expected_facts(spec)
    assert config["build_config"]["max_num_tokens"] == built_limits(spec).max_num_tokens


def facts_in(config: dict[str, Any], spec: EngineSpec) -> Any:
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config))
        return facts_of(spec, Path(folder))


def quantized(weights: str, kv_cache: str) -> dict[str, Any]:
    return {"quantization": {"weights": weights, "kv_cache": kv_cache}}


EAGLE = {"mode": "eagle", "max_draft_len": 63, "eagle": HEADS}
# A spec, and the start of what must be said of it. Sources: builder.py `build` at 71d8d4d (0.10),
# 78f5c29 (0.13) and 008b2b8; examples/eagle/README.md at 06255cb; plugin.py at 035b99e (0.9).
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "fp8 KV in pages without fp8 weights": (
        quantized("int4_awq", "fp8"), "plugins.paged_context_fmha: an fp8 KV cache in pages needs",
    ),
    "fp8 KV of SmoothQuant, later": (
        {**quantized("int8_sq", "fp8"), "tensorrt_llm": "0.20.0"}, "plugins.paged_context_fmha",
    ),
    "fp8 KV of w4a8 before 0.17": (
        {**quantized("w4a8_awq", "fp8"), "tensorrt_llm": "0.16.0"}, "plugins.paged_context_fmha",
    ),
    "fp8 KV in pages in 0.9": (
        {**quantized("fp8", "fp8"), "tensorrt_llm": "0.9.0"},
        "plugins.paged_context_fmha: does not read an fp8 KV cache in 0.9.0",
    ),
    "SmoothQuant on B200": (
        {**quantized("int8_sq", "auto"), "gpu": "b200-180g"},
        "quantization.weights: trtllm-build refuses int8_sq on b200-180g",
    ),
    "AWQ on B200": (
        {**quantized("int4_awq", "auto"), "gpu": "b200-180g"},
        "quantization.weights: trtllm-build refuses int4_awq",
    ),
    "int8 KV on B200": (
        {
            **quantized("fp8", "int8"), "gpu": "b200-180g",
            "plugins": {"paged_context_fmha": False},
            "serving": {"kv_cache_reuse": False, "chunked_context": False},
        },
        "quantization.kv_cache: trtllm-build refuses int8 on b200-180g",
    ),
    "EAGLE of a large batch": (
        {"speculative": EAGLE, "limits": SMALL | {"max_batch_size": 513}},
        "limits.max_batch_size: 513 is more than the 512 that EAGLE takes",
    ),
    "EAGLE of long drafts": (
        {"speculative": EAGLE | {"max_draft_len": 257}},
        "speculative.max_draft_len: 257 is more than the 256 that EAGLE takes",
    ),
    "EAGLE of fp8": (
        {"speculative": EAGLE, **quantized("fp8", "auto")},
        "quantization.weights: fp8 is lost with EAGLE",
    ),
    "EAGLE in a pipeline": (
        {"speculative": EAGLE, "parallel": {"pipeline": 2}},
        "parallel.pipeline: EAGLE has no pipeline parallelism",
    ),
    "EAGLE's own tree, too large": (
        {"speculative": EAGLE | {"max_draft_len": 10}},
        "speculative.max_draft_len: 10 is less than the 63 drafts of the backend's eagle_choices",
    ),
    "EAGLE's own tree, too deep": (
        {"speculative": EAGLE | {"eagle_layers": 3}},
        "speculative.eagle_layers: 3, but the backend's eagle_choices (mc_sim_7b_63) go 4 deep",
    ),
    "EAGLE's own tree, too wide": (
        {"speculative": EAGLE | {"eagle_non_leaves": 9}},
        "speculative.eagle_non_leaves: 9 is less than the 10",
    ),
    "a tree with a hole": (
        {"speculative": EAGLE | {"eagle_choices": [[0], [1, 0]]}},
        "speculative.eagle_choices: each is a path",
    ),
    "a tree larger than the drafts": (
        {
            "speculative": EAGLE
            | {"max_draft_len": 2, "eagle_layers": 1, "eagle_choices": [[0], [1], [2]]}
        },
        "speculative.max_draft_len: 2 is less than the 3 drafts of speculative.eagle_choices",
    ),
    "choices without EAGLE": (
        {"speculative": {"eagle_choices": [[0]]}}, "speculative.eagle_choices: are for mode eagle",
    ),
    "Turing today": ({"gpu": "t4", "dtype": "float16"}, "gpu: t4 (Turing) has kernels"),
    "B200 before Blackwell": (
        {"gpu": "b200-180g", "tensorrt_llm": "0.12.0"},
        "gpu: b200-180g (Blackwell) has kernels in TensorRT-LLM from 0.17.0 on, not in 0.12.0",
    ),
    "RTX 5090 before Blackwell": (
        {"gpu": "rtx-5090", "tensorrt_llm": "0.16.0"}, "gpu: rtx-5090 (Blackwell (RTX)) has",
    ),
    "an fp8 GEMM plugin in 0.10": (
        {**quantized("fp8", "auto"), "tensorrt_llm": "0.10.0", "plugins": {"gemm": "fp8"}},
        "plugins.gemm: trtllm-build 0.10.0 takes float16, float32, bfloat16, disable, not fp8",
    ),
    "an nvfp4 GEMM plugin in 0.16": (
        {"tensorrt_llm": "0.16.0", "plugins": {"gemm": "nvfp4"}},
        "plugins.gemm: trtllm-build 0.16.0 takes",
    ),
    "drafts from callers, whom nobody serves": (
        {"speculative": {"mode": "draft_tokens_external", "max_draft_len": 5}},
        "speculative.mode: Input should be 'none', 'lookahead' or 'eagle'",
    ),
    "hosts half filled": (
        {"parallel": {"tensor": 4, "pipeline": 2, "gpus_per_host": 3}},
        "parallel.gpus_per_host: 8 ranks do not fill hosts of 3 GPUs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_upstream_would_refuse_or_drop_is_refused_before_the_build(case: str) -> None:
    changes, message = REFUSED[case]
    content = BASE.model_dump() | {"model": load_spec("llama-3-8b-a100-fp16").model.model_dump()}
    content |= {"limits": SMALL, **changes}

    with pytest.raises(SpecError) as refusal:
        parse_spec(content, "spec")

    assert f"\n  {message}" in str(refusal.value)


def test_the_combinations_that_upstream_refuses_are_those_that_rules_refuse() -> None:
    """Every KV cache and weights, paged, on three GPUs, around each change of builder.py; where a
    rule lacks, `BuildRefused` comes, or the paging is lost."""
    weights = ("none", "fp8", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4")
    built = []
    for number, (name, kind, kv_cache) in product(
        ("0.9.0", "0.10.0", "0.16.0", "0.17.0", "1.2.1"),
        product(("h100-80g", "l40s-48g", "b200-180g"), weights, ("auto", "fp8", "int8")),
    ):
        changes = {"tensorrt_llm": number, "gpu": name, **quantized(kind, kv_cache)}
        spec = accepted(load_spec("llama-3-8b-a100-fp16").model_dump() | changes)
        if spec is not None:
            major, minor = GPUS[name].compute_capability
            built.append(config_of(spec, major * 10 + minor))

    assert len(built) > 40
    assert all(c["build_config"]["plugin_config"]["use_paged_context_fmha"] for c in built)


def test_the_stand_in_refuses_as_upstream_does() -> None:
    spec = load_spec("llama-3.1-8b-h100-fp8").replaced(tensorrt_llm="0.16.0")
    awq = spec.model_copy(
        update={"quantization": spec.quantization.model_copy(update={"weights": "int4_awq"})}
    )

    with pytest.raises(BuildRefused, match="FP8 Paged Context FMHA only works with fp8"):
        config_of(awq)


@pytest.mark.parametrize(
    ("number", "name", "knows"),
    [
        ("0.9.0", "speculative_decoding_mode", False),
        ("0.10.0", "speculative_decoding_mode", True),
    ],
)
def test_a_flag_is_known_from_the_release_that_brought_it(
    number: str, name: str, knows: bool
) -> None:
    assert (name in flags_of("trtllm-build", release_numbered(number))) is knows


def test_fields_and_rules_are_told_at_once() -> None:
    content = BASE.model_dump() | {"gpu": "h100", "limits": SMALL | {"max_input_len": 512}}

    with pytest.raises(SpecError, match=r"(?s)gpu: 'h100' is none of.*limits\.max_input_len: 512"):
        parse_spec(content, "spec")


def test_a_rule_is_not_asked_about_a_field_that_is_wrong() -> None:
    content = BASE.model_dump() | {"limits": SMALL | {"max_seq_len": "long"}}

    with pytest.raises(SpecError) as refusal:
        parse_spec(content, "spec")

    assert str(refusal.value).count("\n") == 1


# PluginConfig.tokens_per_block: 128 (035b99e), 64 (78f5c29), 32 (c20322f).
BLOCKS = {"0.9.0": "128", "0.10.0": "64", "0.12.0": "64", "0.16.0": "32", "1.2.1": "32"}


@pytest.mark.parametrize("number", BLOCKS)
def test_the_gateway_is_told_how_many_tokens_a_block_of_the_engine_has(
    number: str, tmp_path: Path
) -> None:
    spec = load_spec("llama-3-8b-a100-fp16").replaced(tensorrt_llm=number)
    (tmp_path / "config.json").write_text(json.dumps(config_of(spec)))

    text = configs(spec, PLACE, facts_of(spec, tmp_path))["tensorrt_llm/config.pbtxt"]

    assert f'key: "tokens_per_block"\n  value: {{ string_value: "{BLOCKS[number]}" }}' in text


def test_a_block_of_ones_own_is_read_from_the_engine(tmp_path: Path) -> None:
    config = config_of(BASE)
    config["build_config"]["plugin_config"]["tokens_per_block"] = 64
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert facts_of(BASE, tmp_path).tokens_per_block == 64


# Model-Optimizer, tensorrt_llm_utils.py (0.23.0): float16 for bfloat16, else the model's own.
LOGITS = {
    "llama-3.1-8b-h100-bf16": "TYPE_FP32",
    "llama-3.1-8b-h100-fp8": "TYPE_FP16",
    "llama-3-8b-a100-fp16": "TYPE_FP32",
}


@pytest.mark.parametrize("name", LOGITS)
def test_logits_have_the_type_that_the_engine_has(name: str, tmp_path: Path) -> None:
    spec = load_spec(name)
    (tmp_path / "config.json").write_text(json.dumps(config_of(spec)))

    made = configs(spec, PLACE, facts_of(spec, tmp_path))

    for model in ("ensemble", "tensorrt_llm"):
        text = made[f"{model}/config.pbtxt"]
        assert f'name: "generation_logits"\n    data_type: {LOGITS[name]}' in text


# tensorrt_llm/config.pbtxt of tensorrtllm_backend at v0.15.0, v0.16.0, v0.18.2 and v0.19.0.
REUSE = {
    "0.15.0": None,
    "0.16.0": "return_kv_cache_reuse_stats",
    "0.18.2": "return_kv_cache_reuse_stats",
    "0.19.0": "return_perf_metrics",
}


@pytest.mark.parametrize("number", REUSE)
def test_reused_blocks_are_asked_for_by_the_name_that_a_release_has(number: str) -> None:
    spec = load_spec("llama-3-8b-a100-fp16").replaced(tensorrt_llm=number)

    text = configs(spec, PLACE)["tensorrt_llm/config.pbtxt"]

    names = {"return_kv_cache_reuse_stats", "return_perf_metrics"}
    assert {name for name in names if f'"{name}"' in text} == {REUSE[number]} - {None}


def test_eagle_is_told_to_be_greedy() -> None:
    spec = BASE.replaced(limits=SMALL, speculative=EAGLE)

    assert any("EAGLE greedily: temperature" in note for note in notes(spec))


def test_the_examples_are_those_of_tritons_containers(tmp_path: Path) -> None:
    here, there = tmp_path / "a", tmp_path / "b"
    there.mkdir()

    assert Toolbox().examples == EXAMPLES[0] == Path("/app/examples")
    assert find_examples((here, there)) == there
    here.mkdir()
    assert find_examples((here, there)) == here


def test_more_ranks_than_kv_heads_repeat_the_heads() -> None:
    one, many = (
        BASE.replaced(parallel={"tensor": tensor, "gpus_per_host": 16}) for tensor in (8, 16)
    )

    from build_engine.memory import memory_of

    assert memory_of(many, 2**36).kv_per_token == memory_of(one, 2**36).kv_per_token
