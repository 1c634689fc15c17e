"""The commands of `build-engine` around TensorRT-LLM engines. The work is imported when due."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from build_engine.errors import BuildError
from build_engine.failure import explained
from build_engine.options import AsJson, ReleaseOption, SpecArgument, address

if TYPE_CHECKING:
    from rich.console import Console

    from build_engine.gpus import Gpu
    from build_engine.pipeline import Build
    from build_engine.schedule import Choice
    from build_engine.spec import EngineSpec

DOES_NOT_FIT = 3
StageName = Literal["download", "convert", "compile", "repository", "verify"]


@explained
def specs(as_json: AsJson = False) -> None:
    """List the specs that come with this tool."""
    from build_engine.spec import load_spec, shipped_specs

    found = {name: load_spec(name) for name in shipped_specs()}
    if as_json:
        typer.echo(json.dumps({name: s.model_dump(mode="json") for name, s in found.items()}))
        return
    from rich.table import Column, Table

    whole = [Column(name, no_wrap=True) for name in ("spec", "precision", "GPUs")]
    numbers = [Column(name, no_wrap=True, justify="right") for name in ("batch", "tokens")]
    table = Table(*whole, *numbers, box=None, pad_edge=False)
    for name, spec in found.items():
        weights, limits = spec.quantization.weights, spec.limits
        table.add_row(
            name,
            spec.dtype if weights == "none" else weights,
            f"{spec.parallel.world_size} x {spec.gpu}",
            str(limits.max_batch_size),
            f"{limits.max_seq_len:,}",
        )
    _console().print(table)


@explained
def container(spec: SpecArgument, tensorrt_llm: ReleaseOption = None) -> None:
    """Print the image that builds and serves a spec: TRITON=$(build-engine container SPEC)."""
    typer.echo(_load(spec, tensorrt_llm).release.container)


@explained
def plan(
    spec: SpecArgument,
    gpu: Annotated[
        str, typer.Option(help="Card to plan for: a name, or auto; the spec's when not given.")
    ] = "",
    tensorrt_llm: ReleaseOption = None,
    input_len: Annotated[int | None, typer.Option(help="Tokens of a usual prompt.", min=1)] = None,
    output_len: Annotated[int | None, typer.Option(help="Tokens of a usual answer.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Say what an engine takes, and whether it fits, before anything is downloaded.

    Exit status: 0 where it fits, 3 where it does not, 1 where it cannot be built at all.
    """
    from build_engine.plan import make_plan
    from build_engine.plan_view import as_json as plan_as_json
    from build_engine.plan_view import show

    wanted, card = _on_gpu(_load(spec, tensorrt_llm), gpu)
    made = make_plan(wanted, card, input_len, output_len)
    if as_json:
        typer.echo(json.dumps(plan_as_json(made), indent=2))
    else:
        show(made, _console())
    raise typer.Exit(0 if made.fits else DOES_NOT_FIT)


@explained
def build(
    spec: SpecArgument,
    output: Annotated[
        Path | None, typer.Option(help="Folder of stages, logs and repository.")
    ] = None,
    stage: Annotated[StageName | None, typer.Option(help="Run this stage alone.")] = None,
    since: Annotated[
        StageName | None, typer.Option("--from", help="Make this stage and all after it again.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Make stages again that are done.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show what would be run.")] = False,
    tensorrt_llm: ReleaseOption = None,
    examples: Annotated[
        Path | None,
        typer.Option(help="TensorRT-LLM's examples; those of the container when not given."),
    ] = None,
    served_from: Annotated[
        Path | None,
        typer.Option(help="Where Triton sees the repository; where it is when not given."),
    ] = None,
    triton: Annotated[
        str,
        typer.Option(callback=address, help="HOST:PORT at which the gateway finds Triton."),
    ] = "127.0.0.1:8001",
) -> None:
    """Make an engine and its model repository: download, convert, compile, repository, verify.

    What is done is kept: a build that stopped is continued by the same command.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    from build_engine.commands import Toolbox, find_examples
    from build_engine.console import StageBoard
    from build_engine.outcome import notes
    from build_engine.pipeline import Build
    from build_engine.production import Place
    from build_engine.schedule import Choice, run_build

    if stage and since:
        raise BuildError("--stage runs one stage, --from several: give one of them")
    folder = (output or Path("engines") / Path(spec).stem).absolute()
    place = Place(served_from or folder / "repository", triton)
    wanted = _load(spec, tensorrt_llm)
    choice = Choice(stage or "", since or "", force)
    for note in notes(wanted):
        typer.secho(f"note: {note}", fg=typer.colors.YELLOW, err=True)
    with StageBoard() as board:
        tools = Toolbox(examples=(examples or find_examples()).absolute())
        made = Build(wanted, folder, place, tools, board, Path(HF_HUB_CACHE))
        if not dry_run:
            run_build(made, choice)
    if dry_run:
        _show_stages(made, choice)
        return
    typer.echo(
        f"{made.repository}\n"
        f"  serve it with {wanted.release.container}:\n"
        f"  tritonserver --model-repository={place.mount}\n"
        f"  gateway serve --models {made.repository / 'gateway.yaml'}"
    )


@explained
def verify(
    repository: Annotated[Path, typer.Argument(help="Model repository that `build` wrote.")],
) -> None:
    """Hold a repository against its spec: engine, files, tensors, tokenizer. 1 where it fails."""
    from rich.markup import escape
    from rich.table import Table

    from build_engine.verify import verify as checks_of

    checks = checks_of(repository)
    table = Table("check", "", "what is wrong")
    for check in checks:
        verdict = "[red]failed[/]" if check.problems else "[green]passed[/]"
        table.add_row(check.name, verdict, escape("\n".join(check.problems)))
    _console().print(table)
    raise typer.Exit(1 if any(check.problems for check in checks) else 0)


@explained
def check(
    target: Annotated[
        str,
        typer.Argument(
            help="An engine's folder, a model repository, or http://HOST:8000 of Triton."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Say what an engine, a repository or a running Triton is, can do, and what is wrong with it.

    Anyone's, not only those of this tool. Exit status 1 where something is wrong.
    """
    from build_engine.look_models import look_at

    found = look_at(target)
    if as_json:
        typer.echo(json.dumps([{"kind": f.kind, "text": f.text} for f in found], indent=2))
    else:
        for kind, title in (("is", "It is"), ("can", "It can"), ("wrong", "Wrong with it")):
            lines = [finding.text for finding in found if finding.kind == kind]
            if lines:
                typer.echo("\n".join([title, *(f"  {line}" for line in lines)]))
    raise typer.Exit(1 if any(finding.kind == "wrong" for finding in found) else 0)


@explained
def tune(
    trace: Annotated[
        Path,
        typer.Option(help="JSONL: prompt_tokens, completion_tokens and arrival_s of each request."),
    ],
    spec: Annotated[
        str, typer.Option(help="Spec to start from: its model, GPU and precision.")
    ] = "llama-3.1-8b-h100-fp8",
    share: Annotated[
        float, typer.Option(help="Share of the requests that must pass.", min=0.5, max=1.0)
    ] = 0.99,
    output: Annotated[Path | None, typer.Option(help="Where to write the spec.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Where to write the distributions as SVG.")
    ] = None,
) -> None:
    """Recommend an engine's limits from a trace of requests, and write a spec with them."""
    from build_engine.histogram import Histogram, as_svg, as_text
    from build_engine.spec import dump_spec
    from build_engine.trace import read_trace
    from build_engine.tune import tune as tuned_for

    requests = read_trace(trace)
    tuning = tuned_for(_load(spec, None), requests, share)
    limits = tuning.spec.limits
    prompts = [request.prompt_tokens for request in requests]
    totals = [request.total_tokens for request in requests]
    histograms = [
        Histogram.of("prompt tokens, and max_input_len", prompts, limits.max_input_len),
        Histogram.of("prompt and completion tokens, and max_seq_len", totals, limits.max_seq_len),
    ]
    typer.echo("\n\n".join(map(as_text, histograms)) + "\n")
    for name, reason in tuning.reasons.items():
        typer.echo(f"{name}: {getattr(limits, name):<8} {reason}")
    typer.echo(f"{tuning.covered:.2%} of {len(requests):,} requests are within these limits")
    if plot:
        plot.write_text(as_svg(histograms), encoding="utf-8")
    if output:
        output.write_text(dump_spec(tuning.spec), encoding="utf-8")
        typer.echo(f"wrote {output}: build-engine plan {output}")


def _load(name: str, tensorrt_llm: str | None) -> "EngineSpec":
    from build_engine.spec import load_spec

    spec = load_spec(name)
    return spec.replaced(tensorrt_llm=tensorrt_llm) if tensorrt_llm else spec


def _on_gpu(spec: "EngineSpec", gpu: str) -> "tuple[EngineSpec, tuple[str, Gpu]]":
    """Return the spec for a card, judged for it where the card is known by name."""
    from build_engine.gpus import GPUS, detect, gpu_named

    name, card = detect() if gpu == "auto" else (gpu or spec.gpu, gpu_named(gpu or spec.gpu))
    return (spec.replaced(gpu=name) if name in GPUS else spec), (name, card)


def _show_stages(made: "Build", choice: "Choice") -> None:
    commands = made.commands()
    for stage in made.stages:
        if stage.name in choice.names:
            is_kept = made.workshop.is_done(stage) and not choice.again
            typer.echo(f"{stage.name}: {'done before' if is_kept else commands[stage.name]}")


def _console() -> "Console":
    from rich.console import Console

    return Console()
