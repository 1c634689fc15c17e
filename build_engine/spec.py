"""What an engine is to be: one YAML file, parsed and judged. Plans nothing, builds nothing."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

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


class Calibration(Part):
    """Texts to calibrate with: a data set on the hub, pinned, or a folder here and its SHA-256 (as
    `build_engine.calibration` counts it)."""

    id: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$", description="OWNER/NAME.")
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$", description="Commit.")
    path: Path | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _is_one(self) -> "Calibration":
        named = [name for name in ("id", "revision", "path", "sha256") if getattr(self, name)]
        if named not in (["id", "revision"], ["path", "sha256"]):
            raise ValueError("give id with revision, or path with sha256")
        return self

    @property
    def name(self) -> str:
        """What its folder is called; quantize.py takes the column of the texts from that."""
        return self.path.name if self.path else str(self.id).partition("/")[2]


class Quantized(Part):
    """How weights and KV cache are stored; `calibration_size` counts samples."""

    weights: Quantization = "none"
    kv_cache: Literal["auto", "fp8", "int8"] = "auto"
    published: bool = Field(False, description="The hub's weights are stored so already.")
    calibration: Calibration | None = None
    calibration_size: int = Field(512, gt=0)
    awq_block_size: int = Field(128, gt=0)


class Parallel(Part):
    """Over how many GPUs each tensor, and the stack of layers, is spread."""

    tensor: int = Field(1, gt=0)
    pipeline: int = Field(1, gt=0)
    gpus_per_host: int = Field(8, gt=0)

    @property
    def world_size(self) -> int:
        """GPUs in all."""
        return self.tensor * self.pipeline

    @property
    def num_hosts(self) -> int:
        """Machines, each with `gpus_per_host` GPUs."""
        return -(-self.world_size // self.gpus_per_host)


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
    """Drafting ahead: from n-grams, or from EAGLE heads, along a tree of choices (the backend's
    mc_sim_7b_63 where none are given)."""

    mode: Literal["none", "lookahead", "eagle"] = "none"
    max_draft_len: int = Field(0, ge=0)
    window: int = Field(7, gt=0)
    ngram: int = Field(7, gt=1)
    verification_set: int = Field(7, gt=0)
    eagle: Weights | None = None
    eagle_layers: int = Field(4, gt=0)
    eagle_non_leaves: int = Field(10, gt=0)
    eagle_choices: tuple[tuple[int, ...], ...] = ()

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


def _known_release(number: str) -> str:
    try:
        release_numbered(number)
    except BuildError as error:
        raise ValueError(str(error)) from None
    return number


def _known_gpu(name: str) -> str:
    if name not in GPUS:
        raise ValueError(f"{name!r} is none of {', '.join(GPUS)}")
    return name


class EngineSpec(Part):
    """One engine, wholly decided."""

    model: Model
    tensorrt_llm: Annotated[str, AfterValidator(_known_release)] = Field(
        description="Version; its container builds and serves."
    )
    tensorrt_llm_commit: str | None = Field(
        None, pattern=r"^[0-9a-f]{40}$", description="Commit that the example scripts are of."
    )
    gpu: Annotated[str, AfterValidator(_known_gpu)] = Field(description="The card it is meant for.")
    dtype: Literal["float16", "bfloat16", "float32"]
    quantization: Quantized = Quantized()
    parallel: Parallel = Parallel()
    limits: Limits
    plugins: Plugins = Plugins()
    speculative: Speculative = Speculative()
    lora: Lora | None = None
    serving: Serving = Serving()
    llm: dict[str, Any] = Field({}, description="For llmapi: more arguments of tensorrt_llm.LLM.")

    @model_validator(mode="after")
    def _judge(self) -> "EngineSpec":
        from build_engine.rules import broken_rules

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
        problems = "\n".join(f"  {line}" for line in _problems(error, content))
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


def _problems(error: ValidationError, content: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with fields, then which rules are broken by those that are right."""
    from build_engine.rules import broken_rules_of_part

    lines: list[str] = []
    are_fields_right = True
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        are_fields_right &= not where
        lines += (
            [message if message.startswith(f"{where}:") else f"{where}: {message}"]
            if where
            else message.splitlines()
        )
    return (
        lines
        if are_fields_right
        else lines + list(broken_rules_of_part(_part(EngineSpec, content)))
    )


def _part(kind: type[Part], content: object) -> Any:
    """Return a part with the fields that are right; to ask it for another is an AttributeError."""
    given = content if isinstance(content, Mapping) else {}
    part = kind.model_construct()
    for name, field in kind.model_fields.items():
        if name not in given:
            continue
        part.__dict__.pop(name, None)
        annotation = field.annotation
        with contextlib.suppress(ValidationError):
            if isinstance(annotation, type) and issubclass(annotation, Part):
                part.__dict__[name] = _part(annotation, given[name])
            else:
                whole = Annotated[annotation, field]  # type: ignore[valid-type]
                part.__dict__[name] = TypeAdapter(whole).validate_python(given[name])
    return part
