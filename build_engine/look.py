"""What an engine is, can do, and lacks, in words, from its folder. Anyone's engine; runs none."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from build_engine.artifacts import rank_problems, read_json
from build_engine.errors import BuildError
from build_engine.outcome import LOGITS_TYPES
from build_engine.shapes import SHAPES
from build_engine.versions import release_numbered

Kind = Literal["is", "can", "wrong"]
_MOST_RANKS = 4096
# SpeculativeDecodingMode of tensorrt_llm/models/modeling_utils.py, as JSON has it.
_MODES = {2: "drafts that callers send", 4: "Medusa", 8: "lookahead", 16: "ReDrafter", 32: "EAGLE"}


@dataclass(frozen=True)
class Finding:
    """One thing found out: what something is, what it can do, or what is wrong with it."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Engine:
    """An engine's config.json, by what is asked of it."""

    folder: Path
    model: Mapping[str, Any]
    build: Mapping[str, Any]
    version: str

    @classmethod
    def read(cls, folder: Path) -> "Engine | None":
        """Return the engine in a folder, None where there is none."""
        config = read_json(folder / "config.json") or {}
        model, build = config.get("pretrained_config"), config.get("build_config")
        if not isinstance(model, dict) or not isinstance(build, dict):
            return None
        return cls(folder, model, build, str(config.get("version")))

    @property
    def plugins(self) -> Mapping[str, Any]:
        """The plugin config."""
        return _mapping(self.build.get("plugin_config"))

    @property
    def is_paged(self) -> bool:
        """Whether prompts are read in pages: for prefixes kept, and prompts in chunks."""
        return bool(self.plugins.get("use_paged_context_fmha"))

    @property
    def drafting(self) -> str:
        """How it drafts ahead; empty where it does not."""
        mode = self.build.get("speculative_decoding_mode")
        return _MODES.get(mode, "") if isinstance(mode, int) else ""

    @property
    def seq_len(self) -> int:
        """Tokens of a prompt and its answer: the engine's limit but for what drafts take."""
        total = number(self.build, "max_seq_len") or (
            number(self.build, "max_input_len") + number(self.build, "max_output_len")
        )
        if not self.drafting:
            return total
        layers = number(self.model, "num_eagle_layers") if self.drafting == "EAGLE" else 0
        return total - number(self.build, "max_draft_len") - layers

    @property
    def logits(self) -> str:
        """The type of logits, as Triton's configs name it."""
        return LOGITS_TYPES.get(str(self.model.get("logits_dtype")), "")


def look_at_engine(engine: Engine) -> Iterator[Finding]:
    """Yield what an engine is, can do, and lacks."""
    yield Finding("is", f"a TensorRT-LLM engine, {_container(engine.version)}")
    yield Finding("is", _model(engine.model))
    yield Finding("is", _precision(engine))
    yield from (Finding("can", text) for text in _abilities(engine))
    yield from (Finding("wrong", text) for text in _faults(engine))


def _container(version: str) -> str:
    try:
        return f"built by {version}: only {release_numbered(version).container} loads it"
    except BuildError:
        return f"built by {version}, which no container known here has"


def _model(model: Mapping[str, Any]) -> str:
    found = (
        number(model, "num_hidden_layers"),
        number(model, "hidden_size"),
        number(model, "intermediate_size"),
        number(model, "vocab_size"),
    )
    known = [
        name
        for name, shape in SHAPES.items()
        if (shape.num_layers, shape.hidden, shape.intermediate, shape.vocab) == found
    ]
    like = f", as {', '.join(known)}" if known else ""
    layers, hidden, _, words = found
    kind = model.get("architecture", "a model that it does not name")
    return f"{kind}: {layers} layers of {hidden:,}, {words:,} words{like}"


def _precision(engine: Engine) -> str:
    quantization = _mapping(engine.model.get("quantization"))
    dtype = engine.model.get("dtype")
    weights = quantization.get("quant_algo") or dtype
    kv_cache = quantization.get("kv_cache_quant_algo") or dtype
    mapping = _mapping(engine.model.get("mapping"))
    tensor, pipeline = (mapping.get(name, 1) for name in ("tp_size", "pp_size"))
    return (
        f"weights in {weights}, KV cache in {kv_cache}; on {mapping.get('world_size', 1)} GPUs "
        f"(tensor {tensor}, pipeline {pipeline})"
    )


def _abilities(engine: Engine) -> Iterator[str]:
    build = engine.build
    yield (
        f"{number(build, 'max_batch_size'):,} sequences at once, each of {engine.seq_len:,} "
        f"tokens, prompt and answer; {number(build, 'max_num_tokens'):,} tokens in a step"
    )
    if number(build, "max_beam_width") > 1:
        yield f"{build['max_beam_width']} beams"
    if engine.is_paged:
        yield "keep prefixes in the KV cache, and read long prompts in chunks"
    if engine.drafting:
        greedy = (
            ", greedily: temperature and seeds have no effect" if engine.drafting == "EAGLE" else ""
        )
        yield f"draft up to {number(build, 'max_draft_len')} tokens by {engine.drafting}{greedy}"
    if engine.plugins.get("lora_plugin"):
        rank = _mapping(build.get("lora_config")).get("max_lora_rank", "?")
        yield f"take LoRA adapters up to rank {rank}"


def _faults(engine: Engine) -> Iterator[str]:
    world = number(_mapping(engine.model.get("mapping")), "world_size")
    if not 1 <= world <= _MOST_RANKS:
        yield f"mapping.world_size is {world}: it does not say how many ranks there are"
        return
    yield from rank_problems(engine.folder, "rank{}.engine", world)
    if engine.build.get("kv_cache_type", "PAGED") not in ("PAGED", "paged", None):
        yield f"its KV cache is {engine.build['kv_cache_type']}: in-flight batching needs pages"
    if engine.plugins.get("paged_kv_cache") is False:
        yield "its KV cache is not in pages: in-flight batching needs them"
    if not engine.is_paged:
        yield "use_paged_context_fmha is off: no prefix is kept, and prompts are read whole"
    if engine.plugins.get("remove_input_padding") is False:
        yield "remove_input_padding is off: in-flight batching needs it on"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def number(content: Mapping[str, Any], name: str) -> int:
    """Return a whole number in a config, 0 where there is none."""
    value = content.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
