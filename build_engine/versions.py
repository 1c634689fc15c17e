"""What each TensorRT-LLM release has: containers, scripts, flags, models. Makes no commands.

From NVIDIA's release notes, Triton's compatibility matrix and the arguments in the sources; the
releases that are not listed were never in a Triton container.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from build_engine.errors import BuildError

Version = tuple[int, ...]
_REGISTRY = "nvcr.io/nvidia/tritonserver"
# The last release with trtllm-build is 1.3.0rc20; no Triton container is known to hold it.
_LAST_WITH_ENGINES: Version = (1, 3)


class CannotBuildEngines(BuildError):
    """The release has no trtllm-build any more."""


def parse_version(text: str) -> Version:
    """Return the numbers of a version; suffixes (`rc20`, `.post1`) do not count."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


@dataclass(frozen=True)
class Release:
    """One TensorRT-LLM version and the Triton container that holds it."""

    number: str
    tag: str

    @property
    def version(self) -> Version:
        """The number, to compare."""
        return parse_version(self.number)

    @property
    def container(self) -> str:
        """The image to build and to serve in."""
        return f"{_REGISTRY}:{self.tag}-trtllm-python-py3"

    @property
    def convert_script(self) -> str:
        """convert_checkpoint.py, below TensorRT-LLM's examples."""
        folder = "models/core/llama" if self.has("0.19.0") else "llama"
        return f"{folder}/convert_checkpoint.py"

    @property
    def quantize_script(self) -> str:
        """quantize.py, below TensorRT-LLM's examples."""
        return "quantization/quantize.py"

    @property
    def eagle_script(self) -> str:
        """The converter of a base model with its EAGLE heads, below TensorRT-LLM's examples."""
        return "eagle/convert_checkpoint.py"

    @property
    def tokens_per_block(self) -> int:
        """Tokens in a block of the paged KV cache: the default of PluginConfig, in
        tensorrt_llm/plugin/plugin.py (at 035b99e 128, at c20322f 32)."""
        if not self.has("0.10.0"):
            return 128
        return 32 if self.has("0.16.0") else 64

    @property
    def is_final(self) -> bool:
        """Whether it is a release, and not a snapshot on the way to one."""
        return self.number in _BY_NUMBER

    def has(self, since: str, before: str = "") -> bool:
        """Tell whether something added in `since` and gone in `before` is in this release."""
        return parse_version(since) <= self.version and (
            not before or self.version < parse_version(before)
        )


RELEASES: tuple[Release, ...] = tuple(
    Release(number, tag)
    for number, tag in (
        ("0.9.0", "24.04"),
        ("0.10.0", "24.06"),
        ("0.11.0", "24.07"),
        ("0.12.0", "24.08"),
        ("0.13.0", "24.09"),
        ("0.14.0", "24.10"),
        ("0.15.0", "24.11"),
        ("0.16.0", "24.12"),
        ("0.17.0", "25.01"),
        ("0.18.0", "25.03"),
        ("0.18.2", "25.04"),
        ("0.19.0", "25.05"),
        ("0.20.0", "25.07"),
        ("0.21.0", "25.08"),
        ("1.0.0", "25.10"),
        ("1.0.3", "25.11"),
        ("1.1.0", "26.02"),
        ("1.2.0", "26.03"),
        ("1.2.1", "26.07"),
    )
)
NEWEST = RELEASES[-1]
_BY_NUMBER = {release.number: release for release in RELEASES}

# The first release that converts each family (NVIDIA's release notes).
MODEL_SINCE: Mapping[str, str] = {
    "llama-3": "0.9.0",
    "llama-3.1": "0.12.0",
    "llama-3.2": "0.15.0",
    "llama-3.3": "0.12.0",
}
QUANTIZATION_SINCE: Mapping[str, str] = {"nvfp4": "0.17.0"}
SPECULATIVE_SINCE: Mapping[str, str] = {"lookahead": "0.19.0", "eagle": "0.16.0"}
GUIDED_DECODING_SINCE = "0.19.0"
# W4A8 in the attention of fp8 (0.17.0's release notes).
W4A8_ATTENTION_SINCE = "0.17.0"


@dataclass(frozen=True)
class Architecture:
    """A generation of GPUs by its compute capability's major number, or both; the releases that
    have kernels for it."""

    name: str
    since: str = "0.9.0"
    before: str = ""


# Release notes: Volta's kernels, which Turing can run, left in 0.15.0; B200 and, with limits, the
# RTX 50 series came in 0.17.0. cpp/cmake/modules/cuda_configuration.cmake at 1b84604 compiles for
# 80, 86, 89, 90, 100 and 120.
ARCHITECTURES: Mapping[int, Architecture] = {
    7: Architecture("Turing", before="0.15.0"),
    8: Architecture("Ampere and Ada"),
    9: Architecture("Hopper"),
    10: Architecture("Blackwell", since="0.17.0"),
    12: Architecture("Blackwell (RTX)", since="0.17.0"),
}
_SNAPSHOT = re.compile(r"(\d+\.\d+\.\d+)\.?(?:dev|rc)\d+")


def release_numbered(number: str) -> Release:
    """Return a release by its number; for a snapshot on the way to one (0.10.0.dev2024042300), what
    is known of that one.

    Raises CannotBuildEngines for those without trtllm-build, BuildError for unknown ones.
    """
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    snapshot = _SNAPSHOT.fullmatch(number)
    if snapshot and snapshot[1] in _BY_NUMBER:
        return replace(_BY_NUMBER[snapshot[1]], number=number)
    if parse_version(number) >= _LAST_WITH_ENGINES:
        raise CannotBuildEngines(
            f"tensorrt_llm: {number} cannot build engines, upstream removed trtllm-build after "
            f"1.3.0rc20. Build with {NEWEST.number} ({NEWEST.container}), or serve the model with "
            "its PyTorch backend: build-engine repository --engine llmapi --spec SPEC"
        )
    raise BuildError(f"tensorrt_llm: {number!r} is none of {', '.join(_BY_NUMBER)}")


@dataclass(frozen=True)
class Flag:
    """An argument of one of the tools, with the releases that know it.

    `values` are all it takes, where that is a short list; a switch takes none; `many` takes
    several words.
    """

    name: str
    since: str = "0.9.0"
    before: str = ""
    values: tuple[str, ...] = ()
    is_switch: bool = False
    many: bool = False


_ON_OFF = ("enable", "disable")
_PLUGIN = ("auto", "float16", "float32", "bfloat16", "disable")
_DTYPES = ("auto", "float16", "bfloat16", "float32")
_DRAFTING = ("draft_tokens_external", "medusa", "lookahead_decoding", "eagle")
_PARALLEL = (Flag("tp_size"), Flag("pp_size"))

FLAGS: Mapping[str, tuple[Flag, ...]] = {
    "convert_checkpoint": (
        Flag("model_dir"),
        Flag("output_dir"),
        Flag("dtype", before="0.15.0", values=_DTYPES[1:]),
        Flag("dtype", since="0.15.0", values=_DTYPES),
        *_PARALLEL,
        Flag("workers"),
    ),
    "eagle_convert_checkpoint": (
        Flag("model_dir", since="0.16.0"),
        Flag("eagle_model_dir", since="0.16.0"),
        Flag("output_dir", since="0.16.0"),
        Flag("dtype", since="0.16.0", values=_DTYPES[1:]),
        Flag("tp_size", since="0.16.0"),
        Flag("pp_size", since="0.16.0"),
        Flag("workers", since="0.16.0"),
        Flag("max_draft_len", since="0.16.0"),
        Flag("num_eagle_layers", since="0.16.0"),
        Flag("max_non_leaves_per_layer", since="0.16.0"),
    ),
    "quantize": (
        Flag("model_dir"),
        Flag("output_dir"),
        Flag("dtype", values=_DTYPES),
        Flag("qformat", before="0.17.0", values=("fp8", "int8_sq", "int4_awq", "w4a8_awq")),
        Flag("qformat", since="0.17.0", values=("fp8", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4")),
        Flag("kv_cache_dtype", values=("fp8", "int8")),
        Flag("calib_dataset", since="0.11.0"),
        Flag("calib_size"),
        Flag("awq_block_size"),
        *_PARALLEL,
    ),
    "trtllm-build": (
        Flag("checkpoint_dir"),
        Flag("output_dir"),
        Flag("workers"),
        Flag("max_batch_size"),
        Flag("max_input_len"),
        Flag("max_output_len", before="0.12.0"),
        Flag("max_seq_len", since="0.11.0"),
        Flag("max_num_tokens"),
        Flag("max_beam_width"),
        Flag("paged_kv_cache", before="0.13.0", values=_ON_OFF),
        Flag("kv_cache_type", since="0.13.0", values=("paged", "continuous", "disabled")),
        Flag("remove_input_padding", values=_ON_OFF),
        Flag("context_fmha", values=_ON_OFF),
        Flag("use_paged_context_fmha", values=_ON_OFF),
        Flag("use_fp8_context_fmha", values=_ON_OFF),
        Flag("multiple_profiles", values=_ON_OFF),
        Flag("reduce_fusion", since="0.14.0", values=_ON_OFF),
        Flag("user_buffer", since="0.17.0", values=_ON_OFF),
        Flag("gpt_attention_plugin", before="0.11.0", values=_PLUGIN[1:]),
        Flag("gpt_attention_plugin", since="0.11.0", values=_PLUGIN),
        Flag("gemm_plugin", before="0.11.0", values=_PLUGIN[1:]),
        Flag("gemm_plugin", since="0.11.0", before="0.17.0", values=(*_PLUGIN, "fp8")),
        Flag("gemm_plugin", since="0.17.0", values=(*_PLUGIN, "fp8", "nvfp4")),
        Flag("lora_plugin", before="0.11.0", values=_PLUGIN[1:]),
        Flag("lora_plugin", since="0.11.0", values=_PLUGIN),
        Flag("lora_target_modules", many=True),
        Flag("max_lora_rank"),
        Flag("logits_dtype", values=("float16", "float32")),
        Flag("gather_context_logits", is_switch=True),
        Flag("speculative_decoding_mode", "0.10.0", "0.11.0", _DRAFTING[:2]),
        Flag("speculative_decoding_mode", "0.11.0", "0.16.0", _DRAFTING[:3]),
        Flag("speculative_decoding_mode", since="0.16.0", values=_DRAFTING),
        Flag("max_draft_len"),
        Flag("strongly_typed", before="0.11.0", is_switch=True),
        Flag("use_custom_all_reduce", before="0.12.0", values=_ON_OFF),
        Flag("tp_size", before="0.12.0"),
        Flag("pp_size", before="0.12.0"),
        Flag("multi_block_mode", before="0.12.0", values=_ON_OFF),
        Flag("context_fmha_fp32_acc", before="0.12.0", values=_ON_OFF),
        Flag("builder_opt", before="0.14.0"),
        Flag("enable_xqa", before="0.16.0", values=_ON_OFF),
    ),
}


def flags_of(tool: str, release: Release) -> dict[str, Flag]:
    """Return what a tool takes in a release, by name."""
    return {flag.name: flag for flag in FLAGS[tool] if release.has(flag.since, flag.before)}
