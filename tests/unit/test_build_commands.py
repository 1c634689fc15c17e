"""Full command lines and rendered repositories, pinned for every shipped spec and six releases."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from build_engine.commands import Downloads, Toolbox, build_command, checkpoint_command
from build_engine.production import MODELS, UNSET, Place, configs, gateway_file, variables
from build_engine.spec import EngineSpec, SpecError, load_spec, shipped_specs
from build_engine.templates import templates_folder, variables_of
from build_engine.tensors import fit
from build_engine.versions import NEWEST, RELEASES, flags_of, release_numbered
from tests.golden import assert_golden

HEADS = {"id": "a/eagle", "revision": "1" * 40}
PINNED = ("0.9.0", "0.12.0", "0.16.0", "0.19.0", "1.0.0", "1.2.1")
PLACE = Place(Path("/engines/repository"), "triton:8001")
FOLDERS = (Path("/DOWNLOAD"), Path("/CHECKPOINT"), Path("/ENGINE"))
_PARAMETER = re.compile(r'key: "(\w+)"\n  value: \{ string_value: "(.*)" \}')
_TENSOR = re.compile(r'  \{\n    name: "(\w+)"\n((?:    .*\n)*?)  \}')


def built_with(spec: EngineSpec, number: str) -> str:
    """What a release makes of a spec: the reason why not, or commands and parameters."""
    try:
        spec = spec.replaced(tensorrt_llm=number)
    except SpecError as reason:
        return str(reason)
    model, checkpoint, engine = FOLDERS
    lines = [
        spec.release.container,
        str(checkpoint_command(spec, Toolbox(), Downloads.of(spec, model), checkpoint)),
        str(build_command(spec, Toolbox(), checkpoint, engine)),
    ]
    for name, text in configs(spec, PLACE).items():
        lines += [name, *(f"  {key} {value}" for key, value in set_parameters(text))]
        lines += [
            f"  {line}" for line in text.splitlines() if re.match(r" *(max|pref|decoup)", line)
        ]
    return "\n".join(lines)


def set_parameters(text: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value in _PARAMETER.findall(text) if "${" not in value]


def tensors(text: str) -> Iterator[str]:
    """A line for each tensor of a config, and for each mapping of an ensemble."""
    for name, body in _TENSOR.findall(text):
        yield f"  {name}: {' '.join(body.split())}"
    yield from re.findall(r"^ +(?:in|out)put_map .*$", text, re.MULTILINE)


SPECS = {name: load_spec(name) for name in shipped_specs()}
BUILT = [name for name, spec in SPECS.items() if not (spec.quantization.published or spec.llm)]


@pytest.mark.parametrize("name", BUILT)
def test_commands_and_repository_of_a_spec_are_as_pinned(name: str) -> None:
    spec = load_spec(name)

    numbers = (*PINNED, *({spec.tensorrt_llm} - set(PINNED)))
    made = [f"# {number}\n{built_with(spec, number)}\n" for number in numbers]

    assert_golden(f"engines/{name}.txt", "\n".join([*made, gateway_file(spec, PLACE, PLACE.mount)]))


@pytest.mark.parametrize("number", PINNED)
def test_tensors_of_a_release_are_as_pinned(number: str) -> None:
    spec = load_spec("llama-3-8b-a100-fp16").replaced(tensorrt_llm=number)

    lines = [line for name, text in configs(spec, PLACE).items() for line in (name, *tensors(text))]

    assert_golden(f"tensors/{number}.txt", "\n".join(lines) + "\n")


def test_the_newest_release_has_the_templates_as_they_are() -> None:
    for model in MODELS:
        template = (templates_folder() / model / "config.pbtxt").read_text()
        assert fit(model, template, NEWEST) == template


def test_tensors_changed_their_names_with_0_20() -> None:
    spec = load_spec("llama-3-8b-a100-fp16")

    before, after = (
        configs(spec.replaced(tensorrt_llm=number), PLACE)["tensorrt_llm/config.pbtxt"]
        for number in ("0.19.0", "0.20.0")
    )

    assert '"random_seed"' in before and '"min_length"' in before
    assert '"seed"' in after and '"min_tokens"' in after


def test_every_variable_of_the_templates_is_decided() -> None:
    everything = load_spec("llama-3.1-8b-h100-bf16").model_dump()
    everything |= {
        "lora": {"modules": ["attn_q"]}, "speculative": {"mode": "lookahead"},
    }  # fmt: skip
    spec = EngineSpec.model_validate(everything)
    tree = {"max_draft_len": 1, "eagle": HEADS, "eagle_layers": 1, "eagle_choices": [[0]]}
    drafting = spec.replaced(speculative={"mode": "eagle", **tree})
    known = variables_of(
        (templates_folder() / model / "config.pbtxt").read_text() for model in MODELS
    )

    decided = variables(spec, PLACE).keys() | variables(drafting, PLACE).keys()

    assert decided | UNSET == known
    assert not decided & UNSET


FEATURES: dict[str, tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "lora": (
        {"lora": {"modules": ["attn_q", "attn_v"], "max_rank": 16}},
        ("--lora_plugin auto --lora_target_modules attn_q attn_v --max_lora_rank 16",),
        ("lora_cache_max_adapter_size 16", "lora_cache_optimal_adapter_size 8"),
    ),
    "lookahead": (
        {"speculative": {"mode": "lookahead"}},
        ("--speculative_decoding_mode lookahead_decoding --max_draft_len 83",),
        ("decoding_mode lookahead", "lookahead_window_size 7"),
    ),
    "eagle": (
        {
            "speculative": {
                "mode": "eagle",
                "max_draft_len": 63,
                "eagle": {"id": "a/eagle", "revision": "1" * 40},
            }
        },
        (
            "eagle/convert_checkpoint.py",
            "--eagle_model_dir /DOWNLOAD/eagle",
            "--num_eagle_layers 4",
            "--speculative_decoding_mode eagle --max_draft_len 63",
        ),
        ("decoding_mode eagle",),
    ),
    "a tree of one's own": (
        {
            "speculative": {
                "mode": "eagle",
                "max_draft_len": 3,
                "eagle": {"id": "a/eagle", "revision": "1" * 40},
                "eagle_layers": 2,
                "eagle_choices": [[0], [1], [0, 0]],
            }
        },
        ("--max_draft_len 3 --num_eagle_layers 2",),
        ("eagle_choices {0}, {1}, {0, 0}",),
    ),
    "texts to calibrate with": (
        {
            "quantization": {
                "weights": "fp8",
                "calibration": {"id": "a/cnn_dailymail", "revision": "1" * 40},
            }
        },
        ("--calib_dataset /DOWNLOAD/calibration/cnn_dailymail --calib_size 512",),
        (),
    ),
    "two hosts": (
        {"parallel": {"tensor": 8, "pipeline": 2}},
        ("--tp_size 8 --pp_size 2 --workers 8",),
        ("num_nodes 2",),
    ),
    "awq": (
        {"quantization": {"weights": "int4_awq"}},
        ("quantization/quantize.py", "--qformat int4_awq", "--awq_block_size 128"),
        (),
    ),
    "two dimensions": (
        {"parallel": {"tensor": 4, "pipeline": 2}},
        ("--tp_size 4 --pp_size 2 --workers 8", "--workers 8"),
        (),
    ),
    "no guides": (
        {"serving": {"guided_decoding": "none", "kv_cache_fraction": 0.85}},
        (),
        ("kv_cache_free_gpu_mem_fraction 0.85",),
    ),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_reaches_commands_and_config(feature: str) -> None:
    changes, arguments, parameters = FEATURES[feature]
    spec = load_spec("llama-3.1-8b-h100-bf16").replaced(**changes)
    model, checkpoint, engine = FOLDERS

    lines = "\n".join(
        [
            str(checkpoint_command(spec, Toolbox(), Downloads.of(spec, model), checkpoint)),
            str(build_command(spec, Toolbox(), checkpoint, engine)),
        ]
    )
    config = dict(set_parameters(configs(spec, PLACE)["tensorrt_llm/config.pbtxt"]))

    assert all(part in lines for part in arguments), lines
    assert {f"{key} {value}" for key, value in config.items()} >= set(parameters)
    assert ("guided_decoding_backend" in config) == spec.is_guided


@st.composite
def specs(draw: st.DrawFn) -> EngineSpec:
    """Any spec that validates, out of what can be combined."""
    base = load_spec(draw(st.sampled_from(shipped_specs())))
    input_len = draw(st.integers(1, 4000))
    batch = draw(st.integers(1, 512))
    paged = draw(st.booleans())
    changes: dict[str, Any] = {
        "tensorrt_llm": draw(st.sampled_from([release.number for release in RELEASES])),
        "gpu": draw(st.sampled_from(["a100-80g", "h100-80g", "b200-180g"])),
        "dtype": draw(st.sampled_from(["float16", "bfloat16", "float32"])),
        "quantization": draw(
            st.fixed_dictionaries(
                {
                    "weights": st.sampled_from(
                        ["none", "fp8", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4"]
                    ),
                    "kv_cache": st.sampled_from(["auto", "fp8"]),
                }
            )
        ),
        "parallel": {
            "tensor": draw(st.sampled_from([1, 2, 4, 8])),
            "pipeline": draw(st.sampled_from([1, 2, 4])),
        },
        "limits": {
            "max_batch_size": batch,
            "max_input_len": input_len,
            "max_seq_len": input_len + draw(st.integers(1, 4000)),
            "max_num_tokens": max(batch, input_len) + draw(st.integers(0, 4096)),
        },
        "plugins": {
            "paged_context_fmha": paged,
            "gemm": draw(st.sampled_from(["auto", "disable"])),
        },
        "serving": {
            "kv_cache_reuse": paged and draw(st.booleans()),
            "chunked_context": paged and draw(st.booleans()),
            "kv_cache_fraction": draw(st.sampled_from([0.1, 0.5, 0.95])),
            "max_queue_size": draw(st.integers(0, 100)),
        },
        "lora": draw(st.sampled_from([None, {"modules": ["attn_q", "mlp_gate"]}])),
        "speculative": draw(
            st.sampled_from(
                [
                    {},
                    {"mode": "lookahead"},
                    {"mode": "eagle", "max_draft_len": 63, "eagle": HEADS},
                ]
            )
        ),
    }  # fmt: skip
    try:
        return base.replaced(**changes)
    except SpecError:
        return base


@settings(max_examples=150, deadline=None)
@given(specs())
def test_any_valid_spec_yields_known_arguments_and_whole_configs(spec: EngineSpec) -> None:
    model, checkpoint, engine = FOLDERS
    for command in (
        checkpoint_command(spec, Toolbox(), Downloads.of(spec, model), checkpoint),
        build_command(spec, Toolbox(), checkpoint, engine),
    ):
        known = flags_of(command.tool, spec.release)
        given_names = [word[2:] for word in command.argv if word.startswith("--")]
        assert set(given_names) <= known.keys()
        assert len(given_names) == len(set(given_names))
        for name, value in zip(command.argv, command.argv[1:], strict=False):
            if name.startswith("--") and known[name[2:]].values:
                assert value in known[name[2:]].values

    for text in configs(spec, PLACE).values():
        assert "${" not in re.sub(r'string_value: "\$\{\w+\}"', "", text)
        assert text.count("{") == text.count("}")
        assert text.count("[") == text.count("]")


def test_the_page_lists_every_release_with_its_container() -> None:
    page = (Path(__file__).parents[2] / "docs" / "build.md").read_text()

    rows = re.findall(r"^\| ([\d.]+) \| (\S+) \|$", page, re.MULTILINE)

    assert rows == [(release.number, release.container.split(":")[1]) for release in RELEASES]


def test_releases_are_in_order_and_found_by_number() -> None:
    assert [release.version for release in RELEASES] == sorted(r.version for r in RELEASES)
    assert all(release_numbered(release.number) is release for release in RELEASES)
