"""The `build-engine` command. Parses, draws and reports; the work is imported when it is due."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from build_engine import engine_cli
from build_engine.failure import explained, fail
from build_engine.options import address
from build_engine.tokenizer import tokenizer_command

if TYPE_CHECKING:
    from build_engine.repository import Repository
    from build_engine.spec import EngineSpec

app = typer.Typer(
    name="build-engine",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"build-engine {version('triton-openai-gateway')}")
        raise typer.Exit


@app.callback()
def _build_engine(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version."),
    ] = False,
) -> None:
    """Turn model weights into a Triton model repository."""


app.command("tokenizer")(tokenizer_command)
for command in (
    engine_cli.specs,
    engine_cli.container,
    engine_cli.plan,
    engine_cli.build,
    engine_cli.verify,
    engine_cli.check,
    engine_cli.tune,
):
    app.command()(command)


@app.command()
@explained
def repository(
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    engine: Annotated[
        Literal["openvino", "simulated", "vllm", "llm_api", "llmapi"],
        typer.Option(
            help="A real model on the CPU, a simulator with a script, vLLM on GPUs; for a --spec "
            "TensorRT-LLM's PyTorch backend: llm_api by a model of ours with all tensors, llmapi "
            "by NVIDIA's."
        ),
    ] = "openvino",
    model: Annotated[
        Path | None,
        typer.Option(
            help="GGUF of the Llama architecture; SmolLM2-135M-Instruct when not given. For "
            "llm_api: folder of weights, instead of the spec's on the hub; for vllm: folder of "
            "weights and tokenizer.",
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of Hugging Face tokenizer files, instead of the model's own.",
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help="What the simulator answers (JSON)."),
    ] = None,
    vllm_python: Annotated[
        str, typer.Option(help="For vllm: the interpreter that has it; Triton's when not given.")
    ] = "",
    vllm_args: Annotated[
        str, typer.Option(help="For vllm: arguments of its AsyncEngineArgs (a JSON object).")
    ] = "{}",
    spec: Annotated[
        str | None,
        typer.Option(help="For llm_api and llmapi: name of a shipped spec, or a .yaml file."),
    ] = None,
    llmapi_model: Annotated[
        Path,
        typer.Option(help="For llmapi: NVIDIA's model, as Triton's containers have it."),
    ] = Path("/app/all_models/llmapi/tensorrt_llm"),
    triton: Annotated[
        str,
        typer.Option(
            callback=address,
            help="For llm_api and llmapi: HOST:PORT at which the gateway finds Triton.",
        ),
    ] = "127.0.0.1:8001",
) -> None:
    """Write a complete Triton model repository, and the gateway's file for it."""
    from build_engine.console import ProgressBars
    from build_engine.repository import RepositorySpec, build
    from build_engine.vllm import VllmSpec

    if engine == "llmapi":
        _write_llmapi(spec, output, llmapi_model, tokenizer, triton)
        return
    if engine == "llm_api":
        _write_llm_api(spec, output, model, tokenizer, triton)
        return
    with ProgressBars() as progress:
        vllm = VllmSpec.read(vllm_python, vllm_args)
        wanted = RepositorySpec(engine, output, model, tokenizer, script, vllm)
        built = build(wanted, progress)
    _report(built)


def _write_llmapi(
    spec: str | None, output: Path, model: Path, tokenizer: Path | None, triton: str
) -> None:
    from build_engine.llmapi import write_repository

    wanted, folder = _named("llmapi", spec, tokenizer)
    write_repository(wanted, output, model, folder, triton)
    typer.echo(f"Built {output}\n  engine   llmapi, TensorRT-LLM's PyTorch backend")


def _write_llm_api(
    spec: str | None, output: Path, model: Path | None, tokenizer: Path | None, triton: str
) -> None:
    from build_engine.llm_api import write_repository

    wanted, folder = _named("llm_api", spec, tokenizer)
    write_repository(wanted, output, folder, triton, model)
    typer.echo(
        f"Built {output}\n  engine   llm_api, TensorRT-LLM's PyTorch backend\n"
        f"  serve it with {wanted.release.container}"
    )


def _named(engine: str, spec: str | None, tokenizer: Path | None) -> "tuple[EngineSpec, Path]":
    from build_engine.errors import BuildError
    from build_engine.spec import load_spec

    if spec is None or tokenizer is None:
        raise BuildError(
            f"{engine} serves what a spec names, and the gateway needs its tokenizer: give --spec "
            "and --tokenizer"
        )
    return load_spec(spec), tokenizer


def _report(built: "Repository") -> None:
    manifest = built.manifest
    size_mib = sum(facts["size"] for facts in manifest.files.values()) / 2**20
    verb = "Built" if built.changed else "Already built, nothing changed:"
    typer.echo(
        f"{verb} {built.path}\n"
        f"  model    {manifest.model.id} ({manifest.model.source}, "
        f"sha256 {manifest.model.revision[:12]}, {manifest.model.context_length:,} tokens)\n"
        f"  engine   {manifest.engine}\n"
        f"  files    {len(manifest.files)}, {size_mib:.1f} MiB"
    )


def main() -> None:
    """Run the command line. What a disk refuses, standard output's too, is told in a line."""
    try:
        app()
    except OSError as error:
        fail(error)
