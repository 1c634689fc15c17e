"""The `gateway` command. Each subcommand says what it does; the work is done elsewhere.

Heavy imports live inside the subcommands, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from gateway.bench.cli import bench

app = typer.Typer(
    help="An OpenAI-compatible gateway in front of NVIDIA Triton with TensorRT-LLM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

HttpPort = Annotated[int | None, typer.Option("--http-port", help="The gateway's HTTP port.")]
Workers = Annotated[int | None, typer.Option(help="Processes that share the ports; default 1.")]
GrpcPort = Annotated[int | None, typer.Option("--grpc-port", help="The gateway's gRPC port.")]
Host = Annotated[str | None, typer.Option(help="Address to bind; default 127.0.0.1.")]


@app.command()
def up(
    http_port: HttpPort = None,
    grpc_port: GrpcPort = None,
    triton_grpc_port: Annotated[
        int, typer.Option(help="Triton's gRPC port; 0 takes a free one.")
    ] = 0,
    repository: Annotated[
        Path, typer.Option(help="Model repository; built there if it is missing.")
    ] = Path("repository"),
    engine: Annotated[
        Literal["openvino", "simulated"] | None,
        typer.Option(help="What runs the model; default: openvino, or what the repository has."),
    ] = None,
    host: Host = None,
) -> None:
    """Bring up everything on this machine: a model repository, a real Triton, the gateway.

    Ctrl-C stops it all.
    """
    from gateway.embedded.up import Stack, UpFailed
    from gateway.settings import SettingsError, load_settings

    try:
        settings = load_settings(
            port=http_port, host=host, grpc_host=host, grpc_port=grpc_port, workers=1
        )
        Stack(settings, repository, engine, triton_grpc_port).run()
    except (SettingsError, UpFailed) as error:
        _fail(error)


@app.command()
def serve(
    triton: Annotated[
        str, typer.Option(help="HOST:PORT of Triton's gRPC endpoint.")
    ] = "127.0.0.1:8001",
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="Folder with the model's tokenizer.json and chat template."),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="YAML file with the models to serve, instead of --tokenizer."),
    ] = None,
    model_id: Annotated[
        str | None,
        typer.Option(help="What clients call the model; default: the tokenizer folder's name."),
    ] = None,
    triton_model: Annotated[
        str, typer.Option(help="What Triton calls the model.")
    ] = "tensorrt_llm",
    triton_ca: Annotated[
        Path | None,
        typer.Option(help="Speak TLS to Triton, and trust these certificates (PEM)."),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="Chat template: llama-3, llama-3.1, llama-3.2, llama-3.3, jinja."),
    ] = None,
    max_model_len: Annotated[
        int | None,
        typer.Option(help="Tokens of context, where Triton does not publish it."),
    ] = None,
    host: Host = None,
    http_port: HttpPort = None,
    grpc_port: GrpcPort = None,
    workers: Workers = None,
) -> None:
    """Run the gateway alone, in front of any Triton."""
    from gateway.launch import launch
    from gateway.settings import (
        ModelSettings,
        SettingsError,
        TlsSettings,
        TritonSettings,
        load_models_file,
        load_settings,
    )
    from gateway.workers.supervisor import WorkersFailed

    try:
        settings = load_settings(
            port=http_port, host=host, grpc_host=host, grpc_port=grpc_port, workers=workers
        )
        if models is not None:
            launch(settings, load_models_file(models).models)
        elif tokenizer is not None:
            one = ModelSettings(
                id=model_id or tokenizer.resolve().name,
                tokenizer=tokenizer.resolve(),
                triton=TritonSettings(
                    address=triton,
                    model=triton_model,
                    tls=TlsSettings(ca=triton_ca) if triton_ca else None,
                ),
                template=template,
                max_model_len=max_model_len,
            )
            launch(settings, [one])
        else:
            raise SettingsError("say what to serve: --tokenizer DIR, or --models FILE")
    except (SettingsError, WorkersFailed) as error:
        _fail(error)


@app.command()
def render(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(help="A conversation in OpenAI's JSON; - reads standard input."),
    ],
    tokenizer: Annotated[Path, typer.Option(help="Folder with the model's tokenizer.")],
    template: Annotated[
        str | None, typer.Option(help="Chat template; found out if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print tokens and text as JSON.")] = False,
) -> None:
    """Show the exact prompt that a conversation becomes: its text, its token ids, their count."""
    from rich.console import Console

    from gateway.errors import InvalidRequest
    from gateway.render import render_file

    try:
        preview = render_file(tokenizer, template, file)
    except (InvalidRequest, ValueError, OSError) as error:
        _fail(error)
    if as_json:
        typer.echo(preview.to_json())
    else:
        Console().print(preview.to_styled(), soft_wrap=True)


app.command()(bench)


def _fail(error: Exception) -> NoReturn:
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def main() -> None:
    """Run the command line."""
    app()
