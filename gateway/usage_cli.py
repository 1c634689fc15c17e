"""`gateway usage`: what was used, by whom, and what it costs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from gateway.traffic.usage_store import Price


def usage(
    by: Annotated[
        str, typer.Option(help="Columns to add up by: tenant, key, model, finish_reason, day.")
    ] = "tenant,key,model",
    since: Annotated[str, typer.Option(help="From when on, as in 24h, 7d or 2026-11-01.")] = "30d",
    until: Annotated[str, typer.Option(help="Until when; default: now.")] = "",
    output: Annotated[
        Literal["table", "csv", "json"], typer.Option("--format", help="How to print it.")
    ] = "table",
    models: Annotated[
        Path | None, typer.Option(help="Models file whose prices give a column of costs.")
    ] = None,
) -> None:
    """Tell the usage of a gateway: requests, tokens, seconds, and with prices what they cost.

    Where it is kept is read from GATEWAY_USAGE and GATEWAY_STATE_DIR, as the gateway does.
    """
    from gateway.settings import SettingsError
    from gateway.traffic.usage_store import UsageError
    from gateway.usage_report import QueryError, as_csv

    try:
        columns, rows = _rows(by, since, until, models)
    except (SettingsError, UsageError, QueryError) as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    if output == "json":
        typer.echo(json.dumps(rows, indent=2))
    elif output == "csv":
        typer.echo(as_csv(rows, columns), nl=False)
    else:
        _print(rows)


def _rows(
    by: str, since: str, until: str, models: Path | None
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    import asyncio

    from gateway.settings import load_models_file, load_settings
    from gateway.stores import prices_of, usage_folder, usage_store
    from gateway.traffic.usage_store import carry
    from gateway.usage_report import Query, report

    settings = load_settings()
    query = Query.of(by, since, until)
    prices: dict[str, Price] = prices_of(load_models_file(models).models) if models else {}

    async def ask() -> list[dict[str, Any]]:
        store = usage_store(settings)
        try:
            await carry(usage_folder(settings), store)
            return await report(store, query, prices)
        finally:
            await store.close()

    return query.by, asyncio.run(ask())


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not rows:
        Console(stderr=True).print("Nothing was used in that time.")
        return
    table = Table(box=None)
    for name, value in rows[0].items():
        table.add_column(
            name, overflow="fold", justify="left" if isinstance(value, str) else "right"
        )
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    Console().print(table)
