"""What an engine is to be: one YAML file, parsed and judged. Plans nothing, builds nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from build_engine.errors import BuildError
from build_engine.gpus import GPUS, Gpu
from build_engine.shapes import SHAPES, Shape, ShapeName
from build_engine.versions import GUIDED_DECODING_SINCE, Release, release_numbered

Quantization = Literal["none", "fp8", "int8_sq", "int4_awq", "w4a8_awq", "nvfp4"]
Plugin = Literal["auto", "float16", "bfloat16", "float32", "disable"]
_SPECS = Path(__file__).parent / "specs"


class SpecError(BuildError):
    """The spec asks for what cannot be; the message names the field and the rule."""


class Part(BaseModel):
    """Every key is known; a misspelt one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Weights(Part):
    """A model on the Hugging Face hub, pinned: branches and tags move, commits do not."""

    id: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="OWNER/NAME on the hub.")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="Commit, 40 hex digits.")


class Model(Weights):
    """The model to serve; `name` is what clients call it."""

    shape: ShapeName
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")


class Quantized(Part):
    """How weights and KV cache are stored; `calibration_size` counts samples."""

    weights: Quantization = "none"
    kv_cache: Literal["auto", "fp8", "int8"] = "auto"
    calibration_size: int = Field(512, gt=0)
    awq_block_size: int = Field(128, gt=0)


class Parallel(Part):
    """Over how many GPUs each tensor, and the stack of layers, is spread."""

    tensor: int = Field(1, gt=0)
    pipeline: int = Field(1, gt=0)

    @property
    def world_size(self) -> int:
        """GPUs in all."""
        return self.tensor * self.pipeline


class Limits(Part):
    """What the engine is compiled for, in sequences and tokens."""

    max_batch_size: int = Field(gt=0)
    max_input_len: int = Field(gt=0)
    max_seq_len: int = Field(gt=1)
    max_num_tokens: int = Field(gt=0)
    max_beam_width: int = Field(1, gt=0)


class Plugins(Part):
    """Kernels and fusions that trtllm-build can be told to use."""

    gpt_attention: Plugin = "auto"
    gemm: Plugin | Literal["fp8", "nvfp4"] = "auto"
    paged_context_fmha: bool = True
    fp8_context_fmha: bool = False
    multiple_profiles: bool = True
    reduce_fusion: bool = False
    user_buffer: bool = False


class Speculative(Part):
    """Drafting ahead: tokens from the client (external), from n-grams, or from EAGLE heads."""

    mode: Literal["none", "draft_tokens_external", "lookahead", "eagle"] = "none"
    max_draft_len: int = Field(0, ge=0)
    window: int = Field(7, gt=0)
    ngram: int = Field(7, gt=1)
    verification_set: int = Field(7, gt=0)
    eagle: Weights | None = None
    eagle_layers: int = Field(4, gt=0)
    eagle_non_leaves: int = Field(10, gt=0)

    @property
    def draft_len(self) -> int:
        """Draft tokens per step at most; for lookahead they follow from its three sizes
        (https://arxiv.org/abs/2402.02057): 7, 7, 7 make 83."""
        if self.mode != "lookahead":
            return self.max_draft_len
        return self.ngram - 2 + (self.window - 1 + self.verification_set) * (self.ngram - 1)


class Lora(Part):
    """Adapters at request time; the cache sizes are ranks and bytes."""

    modules: tuple[
        Literal[
            "attn_q", "attn_k", "attn_v", "attn_dense", "mlp_h_to_4h", "mlp_4h_to_h", "mlp_gate"
        ],
        ...,
    ] = Field(min_length=1)
    max_rank: int = Field(64, gt=0)
    cache_fraction: float = Field(0.05, gt=0, lt=1)
    cache_host_bytes: int = Field(2**30, gt=0)


class Serving(Part):
    """How Triton runs the engine."""

    kv_cache_fraction: float = Field(0.9, gt=0, le=1)
    kv_cache_host_bytes: int = Field(0, ge=0)
    kv_cache_reuse: bool = True
    chunked_context: bool = True
    scheduler: Literal["guaranteed_no_evict", "max_utilization"] = "guaranteed_no_evict"
    max_queue_size: int = Field(0, ge=0)
    guided_decoding: Literal["auto", "xgrammar", "none"] = "auto"
    preprocessing_instances: int = Field(4, gt=0)


class EngineSpec(Part):
    """One engine, wholly decided."""

    model: Model
    tensorrt_llm: str = Field(description="Version; its container builds and serves.")
    gpu: str = Field(description="The card it is meant for.")
    dtype: Literal["float16", "bfloat16", "float32"]
    quantization: Quantized = Quantized()
    parallel: Parallel = Parallel()
    limits: Limits
    plugins: Plugins = Plugins()
    speculative: Speculative = Speculative()
    lora: Lora | None = None
    serving: Serving = Serving()

    @model_validator(mode="after")
    def _judge(self) -> "EngineSpec":
        from build_engine.rules import broken_rules

        if self.gpu not in GPUS:
            raise ValueError(f"gpu: {self.gpu!r} is none of {', '.join(GPUS)}")
        if problems := list(broken_rules(self)):
            raise ValueError("\n".join(problems))
        return self

    @property
    def shape(self) -> Shape:
        """The model's sizes."""
        return SHAPES[self.model.shape]

    @property
    def release(self) -> Release:
        """The TensorRT-LLM it is built with."""
        return release_numbered(self.tensorrt_llm)

    @property
    def card(self) -> Gpu:
        """The GPU it is meant for."""
        return GPUS[self.gpu]

    @property
    def is_guided(self) -> bool:
        """Whether answers can be bound to a grammar."""
        wish = self.serving.guided_decoding
        return wish == "xgrammar" or (wish == "auto" and self.release.has(GUIDED_DECODING_SINCE))

    def replaced(self, **changes: Any) -> "EngineSpec":
        """Return the spec with top-level fields replaced, judged anew. Raises SpecError."""
        return parse_spec({**self.model_dump(), **changes}, "this spec")


def parse_spec(content: object, source: str) -> EngineSpec:
    """Return the spec in parsed YAML; raises SpecError with every problem found."""
    if not isinstance(content, Mapping):
        raise SpecError(f"{source}: not a mapping of fields")
    try:
        return EngineSpec.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  {line}" for line in _problems(error))
        raise SpecError(f"{source} cannot be built:\n{problems}") from None


def load_spec(name_or_path: str) -> EngineSpec:
    """Return a shipped spec by name, or the one in a YAML file. Raises SpecError."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = _SPECS / f"{name_or_path}.yaml"
        if not path.is_file():
            raise SpecError(
                f"no spec is called {name_or_path!r}: there are {', '.join(shipped_specs())}, "
                "or give the path of a .yaml file"
            )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{path}: {error}") from error
    return parse_spec(content, path.name)


def shipped_specs() -> list[str]:
    """The names of the specs that come with this package."""
    return sorted(path.stem for path in _SPECS.glob("*.yaml"))


def dump_spec(spec: EngineSpec) -> str:
    """Return a spec as the YAML that `load_spec` reads, defaults left out."""
    return yaml.safe_dump(spec.model_dump(mode="json", exclude_defaults=True), sort_keys=False)


def _problems(error: ValidationError) -> list[str]:
    lines: list[str] = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        lines += [f"{where}: {message}"] if where else message.splitlines()
    return lines
