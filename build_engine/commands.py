"""The command lines that make an engine, for one release. Runs nothing."""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from build_engine.errors import BuildError
from build_engine.spec import EngineSpec
from build_engine.versions import flags_of

Value = str | int | bool | tuple[str, ...]


# Where containers have the examples: Triton's from 0.18 on (tensorrtllm_backend,
# dockerfile/Dockerfile.triton.trt_llm_backend), then TensorRT-LLM's own.
EXAMPLES = (Path("/app/examples"), Path("/app/tensorrt_llm/examples"))


def find_examples(places: Iterable[Path] = EXAMPLES) -> Path:
    """Return the first folder of examples that is there; where there is none, the first."""
    first, *others = places
    return next((place for place in (first, *others) if place.is_dir()), first)


@dataclass(frozen=True)
class Toolbox:
    """Where the tools of TensorRT-LLM are; the defaults are those of Triton's containers."""

    python: str = "python3"
    trtllm_build: str = "trtllm-build"
    examples: Path = EXAMPLES[0]


@dataclass(frozen=True)
class Downloads:
    """What a checkpoint is made of: folders of the model, of EAGLE heads, of texts to calibrate
    with."""

    model: Path
    eagle: Path | None = None
    calibration: Path | None = None

    @classmethod
    def of(cls, spec: EngineSpec, folder: Path | None = None) -> "Downloads":
        """Return those that a spec needs, in a folder, or named for what they hold."""
        model, eagle, data = ("MODEL", "EAGLE", "CALIBRATION") if folder is None else (
            "model", "eagle", "calibration"
        )  # fmt: skip
        root, calibration = folder or Path(), spec.quantization.calibration
        return cls(
            root / model,
            root / eagle if spec.speculative.eagle else None,
            root / data / calibration.name if calibration else None,
        )


@dataclass(frozen=True)
class Command:
    """A program, its arguments, and the tool that they are for."""

    tool: str
    argv: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the tool parses: all behind the program, or the script that an interpreter runs."""
        return self.argv[1:] if self.tool == "trtllm-build" else self.argv[2:]

    def __str__(self) -> str:
        """The line to paste into a shell."""
        return shlex.join(self.argv)


def checkpoint_script(spec: EngineSpec) -> tuple[str, str]:
    """Return the tool that makes a spec's checkpoint, and its script below the examples."""
    release = spec.release
    if spec.speculative.eagle is not None:
        return "eagle_convert_checkpoint", release.eagle_script
    if spec.quantization.weights == "none":
        return "convert_checkpoint", release.convert_script
    return "quantize", release.quantize_script


def checkpoint_command(
    spec: EngineSpec, tools: Toolbox, downloads: Downloads, output: Path
) -> Command:
    """Return what turns Hugging Face weights into a TensorRT-LLM checkpoint."""
    tool, script = checkpoint_script(spec)
    common: dict[str, Value] = {
        "model_dir": str(downloads.model),
        "output_dir": str(output),
        "dtype": spec.dtype,
        "tp_size": spec.parallel.tensor,
        "pp_size": spec.parallel.pipeline,
    }
    if tool == "quantize":
        common |= _quantize(spec, downloads.calibration)
    else:
        common |= {"workers": _workers(spec)}
    if downloads.eagle is not None:
        common |= _eagle(spec, downloads.eagle)
    program = (tools.python, str(tools.examples / script))
    return Command(tool, (*program, *_arguments(spec, tool, common)))


def build_command(spec: EngineSpec, tools: Toolbox, checkpoint: Path, output: Path) -> Command:
    """Return what compiles a checkpoint into an engine."""
    plugins = spec.plugins
    wanted: dict[str, Value] = {
        "checkpoint_dir": str(checkpoint),
        "output_dir": str(output),
        "workers": _workers(spec),
        **_limits(spec),
        **_kv_cache(spec),
        "remove_input_padding": "enable",
        "context_fmha": "enable",
        "gpt_attention_plugin": plugins.gpt_attention,
        "gemm_plugin": plugins.gemm,
        "use_paged_context_fmha": _on(plugins.paged_context_fmha),
        "use_fp8_context_fmha": _on(plugins.fp8_context_fmha),
        "multiple_profiles": _on(plugins.multiple_profiles),
    }
    for name in ("reduce_fusion", "user_buffer"):
        if getattr(plugins, name):
            wanted[name] = "enable"
    wanted |= _lora(spec) | _speculative(spec)
    if not spec.release.has("0.12.0"):
        wanted |= {"tp_size": spec.parallel.tensor, "pp_size": spec.parallel.pipeline}
    arguments = _arguments(spec, "trtllm-build", wanted)
    return Command("trtllm-build", (tools.trtllm_build, *arguments))


def _workers(spec: EngineSpec) -> int:
    """Ranks made at once: as many as one host has GPUs for."""
    return min(spec.parallel.world_size, spec.parallel.gpus_per_host)


def _limits(spec: EngineSpec) -> dict[str, Value]:
    limits = spec.limits
    wanted: dict[str, Value] = {
        "max_batch_size": limits.max_batch_size,
        "max_input_len": limits.max_input_len,
        "max_num_tokens": limits.max_num_tokens,
        "max_beam_width": limits.max_beam_width,
    }
    if spec.release.has("0.11.0"):
        return {**wanted, "max_seq_len": limits.max_seq_len}
    return {**wanted, "max_output_len": limits.max_seq_len - limits.max_input_len}


def _kv_cache(spec: EngineSpec) -> dict[str, Value]:
    if spec.release.has("0.13.0"):
        return {"kv_cache_type": "paged"}
    return {"paged_kv_cache": "enable"}


def _quantize(spec: EngineSpec, calibration: Path | None) -> dict[str, Value]:
    quantization = spec.quantization
    wanted: dict[str, Value] = {
        "qformat": quantization.weights,
        "calib_size": quantization.calibration_size,
    }
    if calibration is not None:
        wanted["calib_dataset"] = str(calibration)
    if quantization.kv_cache != "auto":
        wanted["kv_cache_dtype"] = quantization.kv_cache
    if quantization.weights.endswith("awq"):
        wanted["awq_block_size"] = quantization.awq_block_size
    return wanted


def _eagle(spec: EngineSpec, eagle: Path) -> dict[str, Value]:
    return {
        "eagle_model_dir": str(eagle),
        "max_draft_len": spec.speculative.draft_len,
        "num_eagle_layers": spec.speculative.eagle_layers,
        "max_non_leaves_per_layer": spec.speculative.eagle_non_leaves,
    }


def _lora(spec: EngineSpec) -> dict[str, Value]:
    if spec.lora is None:
        return {}
    return {
        "lora_plugin": "auto",
        "lora_target_modules": spec.lora.modules,
        "max_lora_rank": spec.lora.max_rank,
    }


def _speculative(spec: EngineSpec) -> dict[str, Value]:
    mode = spec.speculative.mode
    if mode == "none":
        return {}
    named = "lookahead_decoding" if mode == "lookahead" else mode
    return {"speculative_decoding_mode": named, "max_draft_len": spec.speculative.draft_len}


def _on(value: bool) -> str:
    return "enable" if value else "disable"


def _arguments(spec: EngineSpec, tool: str, wanted: Mapping[str, Value]) -> list[str]:
    """Return arguments in the order of the flag table. Raises BuildError for what it lacks."""
    known = flags_of(tool, spec.release)
    if missing := wanted.keys() - known.keys():
        raise BuildError(
            f"{tool} of TensorRT-LLM {spec.tensorrt_llm} has no --{', --'.join(sorted(missing))}"
        )
    arguments: list[str] = []
    for name, flag in known.items():
        if name in wanted:
            arguments += [f"--{name}", *_words(spec, wanted[name], flag.values)]
    return arguments


def _words(spec: EngineSpec, value: Value, allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return a value as words; before 0.11 no plugin chose its type by itself."""
    if isinstance(value, tuple):
        return value
    text = str(value)
    return (spec.dtype if text == "auto" and "auto" not in allowed else text,)
