"""The planner against published figures, and what it says where an engine does not fit."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from build_engine.cli import app
from build_engine.gpus import GPUS, parse_nvidia_smi
from build_engine.memory import (
    activation_bytes,
    kv_bytes_per_token,
    sampling_bytes,
    weights_bytes,
)
from build_engine.plan import make_plan, remedies
from build_engine.shapes import SHAPES, Shape
from build_engine.spec import Limits, Parallel, Quantized, SpecError, load_spec, shipped_specs

GIB, MIB = 2**30, 2**20
LLAMA_2_7B = Shape(32, 4096, 32, 32, 128, 11008, 32000, 4096)
LLAMA_2_70B = Shape(80, 8192, 64, 8, 128, 28672, 32000, 4096)
LLAMA_3_8B, LLAMA_3_70B = SHAPES["llama-3-8b"], SHAPES["llama-3-70b"]
FP8, PLAIN = Quantized(weights="fp8", kv_cache="fp8"), Quantized()
ONE = Parallel()
# trtllm-bench of TensorRT-LLM 0.12 on an H100, its log in NVIDIA's docs: Llama 2 7B, FP8.
BENCH = Limits(max_batch_size=4096, max_input_len=2048, max_seq_len=4096, max_num_tokens=8192)
BENCH_WEIGHTS = weights_bytes(LLAMA_2_7B, "float16", FP8, ONE)
BENCH_ACTIVATIONS = activation_bytes(LLAMA_2_7B, "float16", BENCH, ONE)
CONTEXT = 0.75 * GIB

# What was published, where, and what the planner's formulas make of it.
PUBLISHED = {
    "weights of Llama 3.1 8B in FP8, GiB (NVIDIA/TensorRT-LLM#6294)": (
        8.46,
        weights_bytes(LLAMA_3_8B, "bfloat16", FP8, ONE) / GIB,
    ),
    "weights of Llama 3 8B in bf16, GiB (vllm-project/vllm#12330)": (
        14.9595,
        weights_bytes(LLAMA_3_8B, "bfloat16", PLAIN, ONE) / GIB,
    ),
    "engine of Llama 2 7B in FP8, MiB (trtllm-bench 0.12)": (6214, BENCH_WEIGHTS / MIB),
    "weights of Llama 2 7B in FP8 as loaded, MiB (TensorRT-LLM, memory.md)": (
        6678,
        BENCH_WEIGHTS / MIB,
    ),
    "12,800 tokens of an 8B in a 16-bit KV cache, GiB (log of a 1.2.1 engine)": (
        1.56,
        12_800 * kv_bytes_per_token(LLAMA_3_8B, "bfloat16", PLAIN, ONE) / GIB,
    ),
    "220,480 tokens of an 8B in a 16-bit KV cache, GiB (ai-dynamo/dynamo, README)": (
        26.91,
        220_480 * kv_bytes_per_token(LLAMA_3_8B, "bfloat16", PLAIN, ONE) / GIB,
    ),
    "engine of one of 4 ranks of Llama 2 70B in FP8, GB (DeepInfra on the hub)": (
        17.8,
        weights_bytes(LLAMA_2_70B, "float16", FP8, Parallel(tensor=4)) / 1e9,
    ),
    "execution context of Llama 2 7B, MiB (trtllm-bench 0.12)": (928.77, BENCH_ACTIVATIONS / MIB),
    "left for KV of an H100 by Llama 2 7B in FP8, GiB (trtllm-bench 0.12)": (
        63.62,
        79.10
        - (BENCH_WEIGHTS + BENCH_ACTIVATIONS + sampling_bytes(LLAMA_2_7B, BENCH) + CONTEXT) / GIB,
    ),
    "263,008 tokens of Llama 3.1 8B in an FP8 KV cache, GiB (NVIDIA/TensorRT-LLM#4275)": (
        16.05,
        263_008 * kv_bytes_per_token(LLAMA_3_8B, "bfloat16", FP8, ONE) / GIB,
    ),
    "5,691 blocks of 16 tokens of Llama 3 8B in bf16, GiB (vllm-project/vllm#12330)": (
        11.12,
        5691 * 16 * kv_bytes_per_token(LLAMA_3_8B, "bfloat16", PLAIN, ONE) / GIB,
    ),
    "2,048 tokens of Llama 3 70B in fp16, MiB (llama.cpp, on the hub)": (
        640,
        2048 * kv_bytes_per_token(LLAMA_3_70B, "float16", PLAIN, ONE) / MIB,
    ),
    "1,149,312 tokens of one of 4 ranks of Llama 3.1 8B, GiB (NVIDIA/TensorRT-LLM#2305)": (
        35.07,
        1_149_312 * kv_bytes_per_token(LLAMA_3_8B, "float16", PLAIN, Parallel(tensor=4)) / GIB,
    ),
    "weights of Llama 3.1 8B in fp16, MiB (ollama/ollama#8361)": (
        15_317.02,
        weights_bytes(LLAMA_3_8B, "float16", PLAIN, ONE) / MIB,
    ),
    "weights of Llama 2 7B in fp16, GiB (vllm-project/vllm#6234)": (
        12.5562,
        weights_bytes(LLAMA_2_7B, "float16", PLAIN, ONE) / GIB,
    ),
    # The table's third row, of the 405B, is twice ours: as of 16 KV heads where the model has 8.
    "128,000 tokens of Llama 3.1 8B in fp16, GiB (huggingface/blog#2345)": (
        15.62,
        128_000 * kv_bytes_per_token(LLAMA_3_8B, "float16", PLAIN, ONE) / GIB,
    ),
    "128,000 tokens of Llama 3.1 70B in fp16, GiB (huggingface/blog#2345)": (
        39.06,
        128_000 * kv_bytes_per_token(LLAMA_3_70B, "float16", PLAIN, ONE) / GIB,
    ),
}
PARAMETERS = {
    "llama-3-8b": 8.03, "llama-3-70b": 70.6, "llama-3.1-405b": 405.85,
    "llama-3.2-1b": 1.24, "llama-3.2-3b": 3.21,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_planner_agrees_with_published_figures(
    name: str, figure: Callable[[str], None]
) -> None:
    published, planned = PUBLISHED[name]

    figure(f"published {published:9,.2f}, planned {planned:9,.2f}: {name}")
    assert planned == pytest.approx(published, rel=0.1)


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes_have_as_many_parameters_as_their_model_cards_say(name: Any) -> None:
    assert SHAPES[name].num_params / 1e9 == pytest.approx(PARAMETERS[name], rel=0.005)


def test_70b_in_bf16_does_not_fit_one_card_and_what_would_is_said() -> None:
    result = CliRunner().invoke(app, ["plan", "llama-3.3-70b-bf16-tp1"], env={"COLUMNS": "120"})

    assert result.exit_code == 3
    assert "does not fit" in result.stdout
    assert "parallel.tensor: 2" in result.stdout
    assert "quantization.weights: fp8" in result.stdout


@pytest.mark.parametrize("name", [n for n in shipped_specs() if not n.endswith("bf16-tp1")])
def test_every_other_shipped_spec_fits_the_card_it_is_for(name: str) -> None:
    plan = make_plan(load_spec(name))

    assert plan.fits
    assert plan.concurrency >= 1


def test_remedies_are_ones_that_fit() -> None:
    plan = make_plan(load_spec("llama-3.3-70b-bf16-tp1"))

    tensor = [advice for advice in remedies(plan) if advice.startswith("parallel")]

    assert tensor == ["parallel.tensor: 2", "parallel.tensor: 4", "parallel.tensor: 8"]
    assert not any("a100-80g" in advice for advice in remedies(plan))


def test_a_plan_for_machines_has_every_figure() -> None:
    result = CliRunner().invoke(app, ["plan", "llama-3.1-8b-h100-fp8", "--json"])

    plan = json.loads(result.stdout)
    assert result.exit_code == 0
    assert plan["fits"] is True
    assert plan["kv_bytes_per_token"] == 65536
    memory = plan["memory"]
    parts = ("weights", "activations", "sampling", "context", "free")
    assert sum(memory[part] for part in parts) == pytest.approx(memory["total"], abs=8)
    assert plan["container"] == "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3"
    assert [line.split()[0] for line in plan["commands"]] == [
        "download", "download", "python3", "trtllm-build",
    ]  # fmt: skip
    assert plan["built"] == {"max_seq_len": 16384, "max_num_tokens": 8192}


def test_concurrency_is_bounded_by_blocks_and_by_the_batch() -> None:
    plan = make_plan(load_spec("llama-3-8b-a100-fp16"))

    assert plan.concurrency == plan.spec.limits.max_batch_size
    long = make_plan(load_spec("llama-3.1-8b-h100-bf16"), None, 12_000, 4_000)
    assert long.concurrency == long.memory.kv_tokens // 16_000


def test_decoding_is_bounded_by_reading_all_weights_each_step() -> None:
    plan = make_plan(load_spec("llama-3-8b-a100-fp16"), None, 256, 256)

    table = 2 * plan.spec.shape.embedding_weights
    one_step = (plan.memory.weights - table + 384 * plan.memory.kv_per_token) / 1555e9
    assert plan.decode_bound(1) == pytest.approx(1 / one_step)
    assert plan.decode_bound(64) > 40 * plan.decode_bound(1)


# Tokens per second of Llama 3.1 8B in FP8 on an H100, TensorRT-LLM 0.15 (NVIDIA's perf-overview).
MEASURED = {(128, 2048): 19965, (500, 2000): 15782, (1000, 1000): 14797, (2048, 2048): 8980}


@pytest.mark.parametrize("lengths", MEASURED)
def test_what_nvidia_measured_is_between_half_the_bound_and_the_bound(
    lengths: tuple[int, int], figure: Callable[[str], None]
) -> None:
    limits = {
        "max_batch_size": 2048, "max_input_len": 2048, "max_seq_len": 4096, "max_num_tokens": 8192,
    }  # fmt: skip
    plan = make_plan(load_spec("llama-3.1-8b-h100-fp8").replaced(limits=limits), None, *lengths)

    bound = plan.decode_bound(plan.concurrency)

    figure(f"measured {MEASURED[lengths]:,} of a bound of {bound:,.0f} tokens/s, {lengths}")
    assert bound / 2 < MEASURED[lengths] < bound


def test_more_than_one_host_is_told_and_never_taken_for_one() -> None:
    result = CliRunner().invoke(app, ["plan", "llama-3.1-405b-bf16-tp16"], env={"COLUMNS": "200"})
    plan = json.loads(
        CliRunner().invoke(app, ["plan", "llama-3.1-405b-bf16-tp16", "--json"]).stdout
    )

    assert "on 16 x h100-80g, 2 hosts" in result.stdout
    assert (plan["num_gpus"], plan["num_hosts"]) == (16, 2)
    assert any("2 hosts of 8 GPUs: launch" in note for note in plan["notes"])


def test_published_weights_are_planned_but_not_built() -> None:
    result = CliRunner().invoke(app, ["plan", "llama-3.1-8b-h100-fp8-llmapi", "--json"])

    (command,) = json.loads(result.stdout)["commands"]
    assert command.startswith("build-engine repository --engine llmapi")


def test_what_drafting_saves_is_not_in_the_bound_and_that_is_said() -> None:
    result = CliRunner().invoke(app, ["plan", "llama-3.1-8b-h100-lookahead"])

    assert "bandwidth x drafts accepted" in result.stdout


def test_lengths_beyond_the_spec_are_refused() -> None:
    with pytest.raises(SpecError, match="300 tokens in and 300 out are more than max_seq_len 512"):
        make_plan(load_spec("llama-3-8b-a100-fp16"), None, 300, 300)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["llama-3.1-8b-h100-fp8", "--gpu", "a100-80g"], "fp8 needs compute capability 8.9"),
        (["llama-3.2-1b", "--gpu", "voodoo2"], "'voodoo2' is none of"),
        (["llama-3.2-1b", "--tensorrt-llm", "0.12.0"], "llama-3.2 needs TensorRT-LLM 0.15.0"),
        (["nothing"], "no spec is called"),
    ],
    ids=["capability", "card", "release", "name"],
)
def test_what_cannot_be_planned_is_an_error_with_status_1(
    arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(app, ["plan", *arguments])

    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("line", "name", "memory_gib"),
    [
        ("NVIDIA H100 80GB HBM3, 81559, 9.0", "h100-80g", 79.6),
        ("NVIDIA A100-SXM4-40GB, 40960, 8.0", "a100-40g", 40.0),
        ("NVIDIA A100-SXM4-80GB, 81920, 8.0", "a100-80g", 80.0),
        ("NVIDIA H200, 143771, 9.0", "h200-141g", 139.8),
        ("NVIDIA L40, 46068, 8.9", "NVIDIA L40", 44.8),
        ("NVIDIA L40S, 46068, 8.9", "l40s-48g", 45.0),
        ("NVIDIA GeForce GTX 1080, 8192, 6.1", "NVIDIA GeForce GTX 1080", 8.0),
    ],
)
def test_the_card_of_this_machine_is_recognized(line: str, name: str, memory_gib: float) -> None:
    found, gpu = parse_nvidia_smi(line)

    assert found == name
    assert gpu.memory_gib == pytest.approx(memory_gib, rel=0.008)


def test_a_machine_without_a_gpu_is_told_to_name_one() -> None:
    result = CliRunner().invoke(app, ["plan", "llama-3.2-1b", "--gpu", "auto"], env={"PATH": ""})

    assert result.exit_code == 1
    assert "name one with --gpu" in result.stderr


def test_a_larger_card_leaves_more_for_kv() -> None:
    spec = load_spec("llama-3.1-8b-h100-bf16")
    small, large = (
        make_plan(spec, ("", replace(GPUS["h100-80g"], memory_gib=g))) for g in (40, 80)
    )

    assert large.memory.kv_tokens > 2 * small.memory.kv_tokens


def test_a_plan_needs_no_package_that_takes_long_to_load() -> None:
    program = (
        "import sys, build_engine.cli as c\n"
        "try: c.main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )

    planned = subprocess.run(
        [sys.executable, "-c", program, "plan", "llama-3.2-1b"], check=True, capture_output=True
    )

    heavy = {"transformers", "huggingface_hub", "numpy", "grpc", "fastapi", "httpx"}
    assert "build_engine.plan" in planned.stderr.decode().split()
    assert not heavy & set(planned.stderr.decode().split())
