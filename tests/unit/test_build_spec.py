"""A spec is wholly valid, or an error that names each field and its rule."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from build_engine.artifacts import same_release
from build_engine.commands import Downloads, Toolbox, build_command, checkpoint_command
from build_engine.spec import SpecError, dump_spec, load_spec, parse_spec, shipped_specs
from build_engine.versions import CannotBuildEngines, parse_version, release_numbered

MINIMAL: dict[str, Any] = {
    "model": {"id": "a/b", "revision": "0" * 40, "shape": "llama-3.1-8b", "name": "m"},
    "tensorrt_llm": "1.2.1",
    "gpu": "h100-80g",
    "dtype": "bfloat16",
    "limits": {
        "max_batch_size": 8, "max_input_len": 100, "max_seq_len": 200, "max_num_tokens": 512,
    },
}  # fmt: skip
FP8 = {"weights": "fp8", "kv_cache": "fp8"}
HEADS = {"id": "a/eagle", "revision": "1" * 40}


def given(**changes: Any) -> dict[str, Any]:
    """The minimal spec with dotted fields replaced; `__` stands for the dot."""
    content: dict[str, Any] = yaml.safe_load(yaml.safe_dump(MINIMAL))
    for name, value in changes.items():
        *parents, last = name.split("__")
        part = content
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    return content


@pytest.mark.parametrize("name", shipped_specs())
def test_a_shipped_spec_is_valid_and_survives_being_written(name: str, tmp_path: Path) -> None:
    spec = load_spec(name)

    (tmp_path / "copy.yaml").write_text(dump_spec(spec))

    assert load_spec(str(tmp_path / "copy.yaml")) == spec


def test_the_shipped_specs_are_those_promised() -> None:
    assert shipped_specs() == [
        "llama-3-8b-a100-fp16",
        "llama-3-8b-a100-fp16-0.10",
        "llama-3-8b-h100-eagle",
        "llama-3.1-405b-bf16-tp16",
        "llama-3.1-405b-fp8-tp8",
        "llama-3.1-8b-a100-40g",
        "llama-3.1-8b-a100-40g-int4-awq",
        "llama-3.1-8b-a100-40g-int8-sq",
        "llama-3.1-8b-a100-80g-fp16",
        "llama-3.1-8b-b200-nvfp4",
        "llama-3.1-8b-h100-bf16",
        "llama-3.1-8b-h100-eagle3",
        "llama-3.1-8b-h100-fp8",
        "llama-3.1-8b-h100-fp8-kv16",
        "llama-3.1-8b-h100-fp8-llmapi",
        "llama-3.1-8b-h100-lookahead",
        "llama-3.1-8b-h100-lora",
        "llama-3.1-8b-h100-ngram",
        "llama-3.1-8b-h200-fp8",
        "llama-3.1-8b-l4-fp8",
        "llama-3.1-8b-l4-int4-awq",
        "llama-3.1-8b-l40s-fp8",
        "llama-3.1-8b-l40s-w4a8",
        "llama-3.2-1b",
        "llama-3.2-3b",
        "llama-3.3-70b-a100-bf16-tp4",
        "llama-3.3-70b-b200-nvfp4",
        "llama-3.3-70b-bf16-tp1",
        "llama-3.3-70b-bf16-tp4",
        "llama-3.3-70b-bf16-tp8",
        "llama-3.3-70b-fp8-tp2",
        "llama-3.3-70b-fp8-tp4",
        "llama-3.3-70b-fp8-tp8",
        "llama-3.3-70b-h200-fp8",
    ]


@pytest.mark.parametrize("name", ["llama-3-8b-a100-fp16", "llama-3-8b-a100-fp16-0.10"])
def test_the_original_example_is_as_it_was(name: str) -> None:
    spec = load_spec(name)

    limits = spec.limits
    assert (spec.dtype, limits.max_batch_size, limits.max_input_len) == ("float16", 128, 256)
    assert limits.max_seq_len - limits.max_input_len == 256
    assert (spec.plugins.gpt_attention, spec.plugins.gemm) == ("float16", "float16")


# What the example runs: convert_checkpoint.py of 71d8d4d and trtllm-build of the snapshot, with
# these arguments and the defaults that they had there (tensorrt_llm/commands/build.py and
# tensorrt_llm/plugin/plugin.py at 66ef1df).
EXAMPLE = {
    "checkpoint": {"--dtype": "float16", "--tp_size": "1"},
    "engine": {
        "--max_batch_size": "128", "--max_input_len": "256", "--max_output_len": "256",
        "--gpt_attention_plugin": "float16", "--gemm_plugin": "float16", "--workers": "1",
        "--tp_size": "1",
    },
}  # fmt: skip
DEFAULTS = {
    "--pp_size": "1", "--max_beam_width": "1", "--max_num_tokens": str(256 * 128),
    "--paged_kv_cache": "enable", "--remove_input_padding": "enable", "--context_fmha": "enable",
    "--use_paged_context_fmha": "disable", "--use_fp8_context_fmha": "disable",
    "--multiple_profiles": "disable", "--workers": "1",
}  # fmt: skip


def test_the_original_example_is_reproduced_argument_by_argument() -> None:
    spec = load_spec("llama-3-8b-a100-fp16-0.10")
    places = {"--model_dir", "--output_dir", "--checkpoint_dir"}

    convert = checkpoint_command(spec, Toolbox(), Downloads.of(spec), Path("CHECKPOINT")).argv[2:]
    build = build_command(spec, Toolbox(), Path("CHECKPOINT"), Path("ENGINE")).argv[1:]

    assert (spec.model.id, spec.model.revision) == (
        "meta-llama/Meta-Llama-3-8B-Instruct", "7840f95a8c7a781d3f89c4818bf693431ab3119a",
    )  # fmt: skip
    assert spec.tensorrt_llm == "0.10.0.dev2024042300"
    assert spec.tensorrt_llm_commit == "71d8d4d3dc655671f32535d6d2b60cab87f36e87"
    for words, example in ((convert, EXAMPLE["checkpoint"]), (build, EXAMPLE["engine"])):
        said = dict(zip(words[::2], words[1::2], strict=True))
        assert said.items() >= example.items()
        others = {name: said[name] for name in said.keys() - example.keys() - places}
        assert others.items() <= DEFAULTS.items()


@pytest.mark.parametrize(
    ("installed", "is_it"),
    [("0.10.0.dev2024042300", True), ("0.10.0", False), ("0.10.0.dev2024050700", False)],
)
def test_a_snapshot_is_built_by_tools_of_just_that_name(installed: str, is_it: bool) -> None:
    assert same_release(installed, "0.10.0.dev2024042300") is is_it


CALIBRATIONS = {
    "no commit": {"id": "a/texts"},
    "no digest": {"path": "/texts"},
    "both": {"id": "a/texts", "revision": "1" * 40, "path": "/texts", "sha256": "1" * 64},
    "nothing": {},
}


@pytest.mark.parametrize("case", CALIBRATIONS)
def test_texts_to_calibrate_with_are_pinned_one_way(case: str) -> None:
    content = given(quantization={"weights": "fp8", "calibration": CALIBRATIONS[case]})

    with pytest.raises(SpecError, match=r"calibration: give id with revision, or path with sha256"):
        parse_spec(content, "spec.yaml")


BROKEN = {
    "unknown key": (given(limit=1), r"limit: Extra inputs"),
    "missing part": ({"gpu": "t4"}, r"model: Field required"),
    "branch": (given(model__revision="main"), r"model\.revision: .*pattern"),
    "bare name": (given(model__id="llama"), r"model\.id: .*pattern"),
    "zero batch": (given(limits__max_batch_size=0), r"limits\.max_batch_size: .*greater than 0"),
    "gpu": (given(gpu="h1000"), r"gpu: 'h1000' is none of .*h100-80g"),
    "release": (given(tensorrt_llm="0.8.0"), r"tensorrt_llm: '0\.8\.0' is none of 0\.9\.0"),
    "too new": (given(tensorrt_llm="1.3.0"), r"cannot build engines.*--engine llmapi"),
    "heads": (given(parallel__tensor=3), r"parallel\.tensor: 3 must divide num_kv_heads \(8"),
    "more ranks than heads": (
        given(parallel={"tensor": 64, "gpus_per_host": 64}),
        r"parallel\.tensor: 64 must divide num_heads \(32",
    ),
    "layers": (given(parallel__pipeline=5), r"parallel\.pipeline: 5 must divide num_layers"),
    "fp8 on A100": (
        given(gpu="a100-80g", quantization__weights="fp8"),
        r"quantization\.weights: fp8 needs compute capability 8\.9 or newer; a100-80g has 8\.0",
    ),
    "nvfp4 on H100": (given(quantization__weights="nvfp4"), r"nvfp4 needs .* 10\.0"),
    "bf16 on T4": (given(gpu="t4"), r"dtype: bfloat16 needs compute capability 8\.0"),
    "KV alone": (given(quantization__kv_cache="fp8"), r"quantization\.kv_cache: .*not quantized"),
    "positions": (
        given(limits__max_seq_len=200_000),
        r"limits\.max_seq_len: 200000 is more than the model's 131072 positions",
    ),
    "no answer": (given(limits__max_input_len=200), r"limits\.max_input_len: 200 must be less"),
    "step": (given(limits__max_batch_size=600), r"limits\.max_num_tokens: 512 must be at least"),
    "unchunked": (
        given(limits__max_num_tokens=64, serving__chunked_context=False),
        r"limits\.max_num_tokens: 64 must be at least max_input_len",
    ),
    "fp8 gemm": (given(plugins__gemm="fp8"), r"plugins\.gemm: fp8 needs quantization\.weights"),
    "fp8 attention": (given(plugins__fp8_context_fmha=True), r"plugins\.fp8_context_fmha: needs"),
    "int8 KV": (
        given(quantization={"weights": "int8_sq", "kv_cache": "int8"}),
        r"plugins\.paged_context_fmha: does not read an int8 KV cache",
    ),
    "fusion alone": (given(plugins__reduce_fusion=True), r"plugins\.reduce_fusion: .*tensor is 1"),
    "user buffer": (given(plugins__user_buffer=True), r"plugins\.user_buffer: needs reduce_fusion"),
    "reuse": (
        given(plugins__paged_context_fmha=False, serving__chunked_context=False),
        r"serving\.kv_cache_reuse: needs plugins\.paged_context_fmha",
    ),
    "chunks": (
        given(plugins__paged_context_fmha=False, serving__kv_cache_reuse=False),
        r"serving\.chunked_context: needs plugins\.paged_context_fmha",
    ),
    "old model": (
        given(tensorrt_llm="0.11.0"),
        r"model\.shape: llama-3\.1 needs TensorRT-LLM 0\.12\.0 or newer",
    ),
    "old guide": (
        given(tensorrt_llm="0.18.2", serving__guided_decoding="xgrammar"),
        r"serving\.guided_decoding: xgrammar needs TensorRT-LLM 0\.19\.0",
    ),
    "old fusion": (
        given(tensorrt_llm="0.12.0", parallel__tensor=2, plugins__reduce_fusion=True),
        r"plugins\.reduce_fusion: trtllm-build 0\.12\.0 has no --reduce_fusion",
    ),
    "no drafts": (
        given(speculative={"mode": "eagle", "eagle": HEADS}),
        r"speculative\.max_draft_len: mode eagle needs one",
    ),
    "no mode": (given(speculative__max_draft_len=5), r"speculative\.max_draft_len: needs a mode"),
    "no heads": (
        given(speculative={"mode": "eagle", "max_draft_len": 8}),
        r"speculative\.eagle: names the heads' weights",
    ),
    "beams": (
        given(speculative__mode="lookahead", limits__max_beam_width=2),
        r"speculative\.mode: lookahead needs limits\.max_beam_width 1",
    ),
    "no modules": (given(lora={"modules": []}), r"lora\.modules: "),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_is_refused_by_field_and_rule(case: str) -> None:
    content, message = BROKEN[case]

    with pytest.raises(SpecError, match=message):
        parse_spec(content, "spec.yaml")


def test_every_broken_rule_is_told_at_once() -> None:
    content = given(parallel__tensor=3, quantization__weights="nvfp4")

    with pytest.raises(SpecError, match=r"(?s)^spec\.yaml cannot be built:\n.*tensor.*nvfp4"):
        parse_spec(content, "spec.yaml")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"no spec is called 'llama-4': there are llama-3-8b"):
        load_spec("llama-4")


@pytest.mark.parametrize("text", ["a: [", "- 1", ""], ids=["no YAML", "a list", "empty"])
def test_a_file_that_is_no_spec_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(text)

    with pytest.raises(SpecError, match=r"spec\.yaml"):
        load_spec(str(tmp_path / "spec.yaml"))


def test_lookahead_drafts_as_many_tokens_as_its_sizes_make() -> None:
    spec = parse_spec(given(speculative={"mode": "lookahead"}), "spec")

    assert spec.speculative.draft_len == 83


@pytest.mark.parametrize("number", ["1.3.0", "1.3.0rc21", "2.0.0"])
def test_a_release_without_trtllm_build_offers_what_there_is_instead(number: str) -> None:
    with pytest.raises(CannotBuildEngines, match=r"26\.07.*repository --engine llmapi"):
        release_numbered(number)


def test_suffixes_of_versions_do_not_count() -> None:
    assert parse_version("0.17.0.post1") == (0, 17, 0)
    assert parse_version("1.3.0rc20") == (1, 3)
