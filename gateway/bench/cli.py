"""The `gateway bench` command: reads options, shows what was found. Measures nothing."""

import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NoReturn

import typer

if TYPE_CHECKING:
    from gateway.bench.report import Report


class Preset(NamedTuple):
    """What is done where nothing else is said; 0 requests are four for each stream."""

    concurrency: str
    requests: int
    max_tokens: int


PRESETS = {"sweep": Preset("1,2,4,8,16,32", 0, 128), "batch-128": Preset("128", 128, 256)}


def bench(
    url: Annotated[str, typer.Argument(help="The endpoint, as in http://127.0.0.1:8080/v1")],
    model: Annotated[str, typer.Option(help="Default: the first of the endpoint's models.")] = "",
    preset: Annotated[
        Literal["sweep", "batch-128"],
        typer.Option(help="batch-128 asks 128 questions at once, for up to 256 tokens each."),
    ] = "sweep",
    concurrency: Annotated[
        str | None, typer.Option(help="Streams open at once. Default: 1,2,4,8,16,32.")
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(min=1, help="For each concurrency. Default: four a stream, at least 8."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help='JSON lines, {"prompt": "..."}. Default: 128 questions of our own.'),
    ] = None,
    prompt_tokens: Annotated[
        int, typer.Option(min=0, help="Prompts of random words, of this length, instead.")
    ] = 0,
    seed: Annotated[
        int | None,
        typer.Option(help="Draws the random prompts. Default: another one in every run."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length of an answer. Default: 128.")
    ] = None,
    ignore_eos: Annotated[
        bool | None,
        typer.Option(
            "--ignore-eos/--stop-at-eos",
            help="Whether answers go on to --max-tokens; default: with --prompt-tokens.",
        ),
    ] = None,
    body: Annotated[
        str, typer.Option(metavar="JSON", help="An object of further request fields.")
    ] = "{}",
    ttft_ms: Annotated[
        float | None, typer.Option(help="Goodput: the first token comes within this.")
    ] = None,
    itl_ms: Annotated[
        float | None, typer.Option(help="Goodput: the others do, on average.")
    ] = None,
    dollars_per_hour: Annotated[
        float, typer.Option(min=0, help="What the endpoint's machines cost.")
    ] = 0.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", dir_okay=False, help="Write all figures here.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(dir_okay=False, help="Write an SVG here.")] = None,
    api_key_env: Annotated[
        str, typer.Option(help="The environment variable that holds the API key.")
    ] = "OPENAI_API_KEY",
) -> None:
    """Measure how an OpenAI-compatible endpoint answers at one concurrency after another."""
    try:
        from gateway.bench.errors import BenchError
        from gateway.bench.figures import Target
        from gateway.bench.run import Options, report_for, run
        from gateway.bench.workload import QUESTIONS
    except ModuleNotFoundError as error:
        fail(f"{error.name} is missing: pip install 'triton-openai-gateway[bench]'")
    default = PRESETS[preset]
    options = Options(
        url=url,
        model=model,
        concurrencies=parse_concurrency(concurrency or default.concurrency),
        requests=requests or default.requests,
        prompts=prompts or QUESTIONS,
        prompt_tokens=prompt_tokens,
        seed=secrets.randbelow(2**32) if seed is None else seed,
        max_tokens=max_tokens or default.max_tokens,
        ignore_eos=bool(prompt_tokens) if ignore_eos is None else ignore_eos,
        extra=parse_body(body),
        target=Target.of_ms(ttft_ms, itl_ms),
        dollars_per_hour=dollars_per_hour,
        key=os.environ.get(api_key_env, ""),
        key_name=api_key_env,
    )
    for place in (json_file, plot):
        check_writable(place)
    report = report_for(options)
    try:
        with suppress(KeyboardInterrupt):
            run(options, report)
    except BenchError as error:
        fail(str(error))
    show(report, is_batch=preset == "batch-128")
    save(report, json_file, plot)
    raise typer.Exit(0 if report.levels and report.levels[-1].answered else 1)


def parse_concurrency(text: str) -> Sequence[int]:
    """Return the numbers of a comma-separated list; raise BadParameter for anything else."""
    with suppress(ValueError):
        numbers = [int(part) for part in text.split(",")]
        if min(numbers) > 0:
            return numbers
    raise typer.BadParameter(
        f"{text!r} is no list of numbers such as 1,2,4,8", param_hint="--concurrency"
    )


def parse_body(text: str) -> dict[str, Any]:
    """Return a JSON object; raise BadParameter for anything else."""
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    raise typer.BadParameter("it is no JSON object", param_hint="--body")


def show(report: "Report", *, is_batch: bool) -> None:
    """Print the table, or the sentence of a batch, and what to know about the figures."""
    from rich.console import Console

    from gateway.bench.report import batch_line

    console = Console(highlight=False)
    console.print(f"{report.model} at {report.url}; {report.workload}", markup=False)
    console.print(report.to_table())
    if is_batch:
        for level in report.levels:
            console.print(batch_line(report, level))
    for note in report.notes():
        console.print(note, style="yellow", markup=False)


def save(report: "Report", json_file: Path | None, plot: Path | None) -> None:
    """Write the files that were asked for."""
    from gateway.bench.plot import draw

    try:
        if json_file:
            json_file.write_bytes(report.to_json())
        if plot:
            plot.write_text(draw(report))
    except OSError as error:
        fail(str(error))


def check_writable(file: Path | None) -> None:
    """Leave, with the reason, where a file that is to be written cannot be; before it matters."""
    try:
        if file:
            file.open("ab").close()
    except OSError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """Print why nothing was measured, and leave."""
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)
