"""The `gateway` command. Each subcommand says what it does; the work is done elsewhere.

Heavy imports live inside the subcommands, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from gateway.admin_cli import drain, reload, replicas, undrain
from gateway.bench.cli import bench
from gateway.keys_cli import keys
from gateway.usage_cli import usage

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

MAX_PORT = 65535

# Where a setting decides what is not given, its default is shown.
HttpPort = Annotated[
    int | None,
    typer.Option(
        "--http-port", min=0, max=MAX_PORT, show_default="8080", help="The gateway's HTTP port."
    ),
]
GrpcPort = Annotated[
    int | None,
    typer.Option(
        "--grpc-port", min=0, max=MAX_PORT, show_default="8081", help="The gateway's gRPC port."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, show_default="1", help="Processes that share the ports."),
]
Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys", dir_okay=False, help="File of keys, see `gateway keys`; callers need one then."
    ),
]
Open = Annotated[
    bool, typer.Option("--open", help="Serve without keys on addresses that others can reach.")
]
TrustedProxies = Annotated[
    str | None,
    typer.Option(
        show_default="none",
        help="Addresses and networks of proxies that are believed for whom they ask.",
    ),
]
Host = Annotated[str | None, typer.Option(show_default="127.0.0.1", help="Address to bind.")]


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        from gateway import __version__

        typer.echo(f"gateway {__version__}")
        raise typer.Exit


@app.callback()
def _gateway(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version."),
    ] = False,
) -> None:
    """An OpenAI-compatible gateway in front of NVIDIA Triton with TensorRT-LLM."""


def _address(value: str | None) -> str | None:
    from gateway.settings import check_address

    try:
        return value and check_address(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def up(
    http_port: HttpPort = None,
    grpc_port: GrpcPort = None,
    triton_grpc_port: Annotated[
        int, typer.Option(min=0, max=MAX_PORT, help="Triton's gRPC port; 0 takes a free one.")
    ] = 0,
    repository: Annotated[
        Path, typer.Option(help="Model repository; built there if it is missing.")
    ] = Path("repository"),
    engine: Annotated[
        Literal["openvino", "simulated", "vllm"] | None,
        typer.Option(
            show_default="what the repository has, or openvino", help="What runs the model."
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="For vllm: folder with weights and tokenizer.")
    ] = None,
    vllm_python: Annotated[
        str, typer.Option(help="For vllm: the interpreter of an environment that has it.")
    ] = "",
    vllm_args: Annotated[
        str, typer.Option(help="For vllm: arguments of its AsyncEngineArgs (a JSON object).")
    ] = "{}",
    host: Host = None,
    keys_file: Keys = None,
    is_open: Open = False,
) -> None:
    """Bring up everything on this machine: a model repository, a real Triton, the gateway.

    Ctrl-C stops it all.
    """
    from build_engine.errors import BuildError
    from build_engine.vllm import VllmSpec
    from gateway.embedded.up import Stack, UpFailed
    from gateway.settings import SettingsError, load_settings

    try:
        vllm = VllmSpec.read(vllm_python, vllm_args)
        settings = load_settings(
            port=http_port,
            host=host,
            grpc_host=host,
            grpc_port=grpc_port,
            workers=1,
            keys_file=keys_file,
            open=is_open or None,
        )
        Stack(settings, repository, engine, triton_grpc_port, model, vllm).run()
    except (SettingsError, BuildError, UpFailed, OSError) as error:
        _fail(error)


@app.command()
def serve(
    triton: Annotated[
        str, typer.Option(callback=_address, help="HOST:PORT of Triton's gRPC endpoint.")
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
        typer.Option(
            show_default="as its repository does, or the tokenizer folder's name",
            help="What clients call the model.",
        ),
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
        typer.Option(min=1, help="Tokens of context, where Triton does not publish it, or fewer."),
    ] = None,
    host: Host = None,
    http_port: HttpPort = None,
    grpc_port: GrpcPort = None,
    workers: Workers = None,
    wait_s: Annotated[
        float | None,
        typer.Option(
            min=0,
            show_default="0, never",
            help="Give up, with status 1, after so many seconds in which no model serves.",
        ),
    ] = None,
    keys_file: Keys = None,
    is_open: Open = False,
    trusted_proxies: TrustedProxies = None,
    redis: Annotated[
        str | None,
        typer.Option(
            help="Share limits through it, as in redis://HOST:6379/0. One with a password belongs "
            "in GATEWAY_REDIS: options can be read by others on this machine."
        ),
    ] = None,
) -> None:
    """Run the gateway alone, in front of any Triton."""
    from gateway.launch import launch
    from gateway.settings import (
        SettingsError,
        TlsSettings,
        TritonSettings,
        load_models_file,
        load_settings,
        name_of,
        one_model,
    )
    from gateway.workers.supervisor import WorkersFailed

    try:
        settings = load_settings(
            port=http_port,
            host=host,
            grpc_host=host,
            grpc_port=grpc_port,
            workers=workers,
            redis=redis,
            trusted_proxies=trusted_proxies,
            wait_s=wait_s,
            keys_file=keys_file,
            open=is_open or None,
        )
        if models is not None:
            launch(settings, load_models_file(models).models, models)
        elif tokenizer is not None:
            one = one_model(
                id=model_id or name_of(tokenizer),
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
    except (SettingsError, WorkersFailed, OSError) as error:
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


@app.command()
def doctor(
    models: Annotated[
        Path | None,
        typer.Option(
            show_default="repository/gateway.yaml, if it is there",
            help="YAML file with the models that are to be served.",
        ),
    ] = None,
    triton: Annotated[
        str | None,
        typer.Option(
            callback=_address, show_default="as the models file says", help="Triton's HOST:PORT."
        ),
    ] = None,
    host: Host = None,
    http_port: HttpPort = None,
    grpc_port: GrpcPort = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
) -> None:
    """Look at all that serving needs, and say what is wrong and what to type.

    Exit status 1 where something keeps the gateway from serving.
    """
    from gateway.doctor.examine import examine
    from gateway.doctor.report import as_lines, to_json
    from gateway.settings import SettingsError, load_settings

    try:
        settings = load_settings(port=http_port, host=host, grpc_host=host, grpc_port=grpc_port)
        findings = examine(settings, models, triton)
    except (SettingsError, OSError) as error:
        _fail(error)
    if as_json:
        typer.echo(to_json(findings))
    else:
        typer.echo(as_lines(findings))
    raise typer.Exit(1 if any(finding.is_wrong for finding in findings) else 0)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path("."),
) -> None:
    """Write a models file with every key explained, and a systemd unit to serve it."""
    from gateway.starter import StarterExists, write_starter

    try:
        for path in write_starter(folder):
            typer.echo(f"wrote {path}")
    except (StarterExists, OSError) as error:
        _fail(error)


app.command()(bench)
app.command()(usage)
app.add_typer(keys, name="keys")
app.command()(replicas)
app.command()(drain)
app.command()(undrain)
app.command()(reload)


def _fail(error: Exception) -> NoReturn:
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)


def main() -> None:
    """Run the command line. What a disk refuses, standard output's too, is told in a line."""
    try:
        app()
    except OSError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise SystemExit(1) from error
