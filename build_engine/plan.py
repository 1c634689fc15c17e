"""Whether a spec fits a GPU, how far it carries, and what to change where it does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from build_engine.commands import Downloads, Toolbox, build_command, checkpoint_command
from build_engine.gpus import GPUS, Gpu
from build_engine.memory import Memory, checkpoint_bytes, download_bytes, memory_of
from build_engine.spec import EngineSpec, SpecError

_TENSOR_SIZES = (2, 4, 8)


@dataclass(frozen=True)
class Plan:
    """What is to be expected of a spec on a GPU, for prompts and answers of given tokens."""

    spec: EngineSpec
    gpu_name: str
    gpu: Gpu
    memory: Memory
    input_len: int
    output_len: int

    @property
    def concurrency(self) -> int:
        """Sequences of the given lengths that run at once: as many as have KV blocks."""
        by_memory = self.memory.kv_tokens // (self.input_len + self.output_len)
        return min(by_memory, self.spec.limits.max_batch_size)

    @property
    def fits(self) -> bool:
        """Whether the engine loads and at least one sequence of the greatest length runs."""
        return self.memory.kv_tokens >= self.spec.limits.max_seq_len

    def decode_bound(self, batch: int) -> float:
        """Return the tokens per second that memory bandwidth allows a batch while decoding.

        Each step reads all weights but the embedding table and the KV of every sequence, here at
        half of its answer; compute, kernels and communication only make it slower.
        """
        shape, spec = self.spec.shape, self.spec
        table = shape.embedding_weights * (4 if spec.dtype == "float32" else 2)
        context = self.input_len + self.output_len / 2
        read = self.memory.weights - table + batch * context * self.memory.kv_per_token
        return batch * self.gpu.bandwidth_gbs * 1e9 / read

    def commands(self) -> list[str]:
        """The lines that `build-engine build` runs, with its folders named for what they hold."""
        spec, tools, checkpoint = self.spec, Toolbox(), Path("CHECKPOINT")
        if spec.quantization.published:
            return [
                "build-engine repository --engine llmapi --spec SPEC --tokenizer DIR --output DIR"
            ]
        heads, texts = spec.speculative.eagle, spec.quantization.calibration
        lines = [f"download {spec.model.id} at {spec.model.revision} to MODEL"]
        if heads is not None:
            lines.append(f"download {heads.id} at {heads.revision} to EAGLE")
        if texts is not None and texts.id:
            lines.append(f"download {texts.id} at {texts.revision} to CALIBRATION/{texts.name}")
        return [
            *lines,
            str(checkpoint_command(spec, tools, Downloads.of(spec), checkpoint)),
            str(build_command(spec, tools, checkpoint, Path("ENGINE"))),
        ]

    @property
    def disk_bytes(self) -> dict[str, int]:
        """What each stage writes."""
        once = checkpoint_bytes(self.spec)
        return {"download": download_bytes(self.spec), "checkpoint": once, "engine": once}


def make_plan(
    spec: EngineSpec,
    gpu: tuple[str, Gpu] | None = None,
    input_len: int | None = None,
    output_len: int | None = None,
) -> Plan:
    """Return the plan of a spec on its own GPU or another.

    Lengths not given are halves of max_seq_len. Raises SpecError for lengths beyond it.
    """
    name, card = gpu or (spec.gpu, spec.card)
    longest = spec.limits.max_seq_len
    prompt = input_len or min(spec.limits.max_input_len, longest // 2)
    answer = output_len or max(1, min(longest - prompt, longest // 2))
    if prompt + answer > longest:
        raise SpecError(f"{prompt} tokens in and {answer} out are more than max_seq_len {longest}")
    return Plan(spec, name, card, memory_of(spec, card.memory_bytes), prompt, answer)


def remedies(plan: Plan) -> list[str]:
    """Return changes to a spec that does not fit, each of which alone makes it fit."""
    found = []
    for advice, changes in _changes(plan):
        try:
            changed = plan.spec.replaced(**changes)
        except SpecError:
            continue
        card = GPUS.get(changed.gpu, plan.gpu) if "gpu" in changes else plan.gpu
        if make_plan(changed, (changed.gpu, card)).fits:
            found.append(advice)
    return found


def _changes(plan: Plan) -> Iterator[tuple[str, dict[str, object]]]:
    spec = plan.spec
    parallel, limits = spec.parallel.model_dump(), spec.limits.model_dump()
    for size in _TENSOR_SIZES:
        if size > spec.parallel.tensor:
            yield f"parallel.tensor: {size}", {"parallel": parallel | {"tensor": size}}
    for weights in ("fp8", "int4_awq"):
        quantization = spec.quantization.model_dump() | {"weights": weights}
        yield f"quantization.weights: {weights}", {"quantization": quantization}
    half = {name: limits[name] // 2 for name in ("max_batch_size", "max_num_tokens")}
    yield (
        f"limits: max_batch_size {half['max_batch_size']}, max_num_tokens {half['max_num_tokens']}",
        {"limits": limits | half},
    )
    for name, gpu in GPUS.items():
        if gpu.memory_gib > plan.gpu.memory_gib:
            yield f"gpu: {name}", {"gpu": name}
