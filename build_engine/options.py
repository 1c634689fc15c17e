"""What several commands of `build-engine` take: the options, and how they are checked."""

import re
from typing import Annotated

import typer

_ADDRESS = re.compile(r"(?:[^\s\[\]:/@]+|\[[\da-fA-F:.]+\]):(\d{1,5})", re.ASCII)


def address(value: str) -> str:
    """Return an option's HOST:PORT; raises BadParameter for anything else."""
    match = _ADDRESS.fullmatch(value)
    if not match or not 0 < int(match[1]) < 65536:
        raise typer.BadParameter(f"{value!r} is not HOST:PORT, as in 127.0.0.1:8001")
    return value


def complete_spec(typed: str) -> list[str]:
    """Return the shipped specs whose names begin as what was typed does."""
    from build_engine.spec import shipped_specs

    return [name for name in shipped_specs() if name.startswith(typed)]


SpecArgument = Annotated[
    str,
    typer.Argument(help="Name of a shipped spec, or a .yaml file.", autocompletion=complete_spec),
]
ReleaseOption = Annotated[
    str | None,
    typer.Option("--tensorrt-llm", help="Version to build with, instead of the spec's."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
