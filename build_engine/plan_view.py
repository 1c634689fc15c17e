"""A plan as a table for people and as JSON for machines. Computes nothing."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from build_engine.outcome import built_limits, notes
from build_engine.plan import Plan, remedies

_GIB = 2**30


def as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data; sizes in bytes, per GPU."""
    memory, spec = plan.memory, plan.spec
    return {
        "model": spec.model.id,
        "revision": spec.model.revision,
        "parameters": spec.shape.num_params,
        "tensorrt_llm": spec.tensorrt_llm,
        "container": spec.release.container,
        "gpu": plan.gpu_name,
        "num_gpus": spec.parallel.world_size,
        "num_hosts": spec.parallel.num_hosts,
        "memory": {
            "total": int(memory.total),
            "weights": int(memory.weights),
            "activations": int(memory.activations),
            "sampling": int(memory.sampling),
            "context": int(memory.context),
            "free": int(memory.free),
            "kv_cache": int(memory.kv_cache),
        },
        "kv_bytes_per_token": int(memory.kv_per_token),
        "kv_tokens": memory.kv_tokens,
        "input_len": plan.input_len,
        "output_len": plan.output_len,
        "concurrency": plan.concurrency,
        "decode_tokens_per_s": {
            str(batch): round(plan.decode_bound(batch)) for batch in _batches(plan)
        },
        "disk": plan.disk_bytes,
        "built": asdict(built_limits(spec)),
        "notes": list(notes(spec)),
        "fits": plan.fits,
        "remedies": [] if plan.fits else remedies(plan),
        "commands": plan.commands(),
    }


def show(plan: Plan, console: Console) -> None:
    """Print what a plan holds: the table, the verdict, the commands."""
    spec = plan.spec
    hosts = spec.parallel.num_hosts
    where = f"{spec.parallel.world_size} x {plan.gpu_name}"
    table = Table(title=f"{spec.model.id} on {where}{f', {hosts} hosts' if hosts > 1 else ''}")
    table.add_column("per GPU")
    table.add_column("", justify="right")
    table.add_column("how it comes about", style="dim")
    for name, value, reason in _rows(plan):
        table.add_row(name, value, reason)
    console.print(table)
    _verdict(plan, console)
    for note in notes(spec):
        console.print(f"[yellow]note[/]: {escape(note)}", highlight=False)
    console.print(f"Commands, inside {spec.release.container}:")
    for command in plan.commands():
        console.print(f"  {command}", soft_wrap=True, highlight=False, markup=False)


def _rows(plan: Plan) -> Iterator[tuple[str, str, str]]:
    memory, spec = plan.memory, plan.spec
    quantization, limits = spec.quantization, spec.limits
    stored = spec.dtype if quantization.weights == "none" else quantization.weights
    kv_dtype = spec.dtype if quantization.kv_cache == "auto" else quantization.kv_cache
    per_sequence = memory.kv_per_token * limits.max_seq_len
    yield "memory", _gib(memory.total), "as CUDA reports it"
    yield "weights", _gib(memory.weights), f"{spec.shape.num_params / 1e9:.2f} B in {stored}"
    yield (
        "activations",
        _gib(memory.activations),
        f"max_num_tokens {built_limits(spec).max_num_tokens:,}",
    )
    yield (
        "sampling",
        _gib(memory.sampling),
        f"max_batch_size {limits.max_batch_size:,} x vocabulary",
    )
    yield "CUDA", _gib(memory.context), "context and libraries"
    yield "left", _gib(memory.free), ""
    yield "KV cache", _gib(memory.kv_cache), f"fraction {memory.kv_fraction:g} of what is left"
    yield "KV per token", f"{memory.kv_per_token / 1024:.1f} KiB", kv_dtype
    yield "KV per sequence", _gib(per_sequence), f"max_seq_len {limits.max_seq_len:,}"
    yield "KV tokens", f"{memory.kv_tokens:,}", "whole blocks"
    lengths = f"{plan.input_len:,} in, {plan.output_len:,} out"
    yield "concurrency", f"{plan.concurrency:,}", lengths
    for batch in _batches(plan):
        bound = f"{plan.decode_bound(batch):,.0f} tok/s"
        yield f"decode, batch {batch:,}", bound, _bound_by(plan)
    disk = " + ".join(f"{size / 1e9:.0f}" for size in plan.disk_bytes.values())
    yield "disk", f"{disk} GB", " + ".join(plan.disk_bytes)


def _bound_by(plan: Plan) -> str:
    if plan.spec.speculative.mode == "none":
        return "at most: memory bandwidth"
    return "bandwidth x drafts accepted"


def _batches(plan: Plan) -> list[int]:
    if not plan.gpu.bandwidth_gbs or not plan.fits:
        return []
    return sorted({1, max(1, plan.concurrency)})


def _verdict(plan: Plan, console: Console) -> None:
    if plan.fits:
        console.print("[bold green]fits[/]")
        return
    missing = plan.spec.limits.max_seq_len * plan.memory.kv_per_token - plan.memory.kv_cache
    reason = (
        f"{_gib(-plan.memory.free)} too much before any KV cache"
        if plan.memory.free < 0
        else f"{_gib(missing)} of KV cache short for one sequence of max_seq_len"
    )
    console.print(f"[bold red]does not fit[/]: {reason}")
    for advice in remedies(plan):
        console.print(f"  it would with  {advice}", highlight=False)


def _gib(size: float) -> str:
    return f"{size / _GIB:.2f} GiB"
