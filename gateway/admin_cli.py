"""`gateway replicas`, `drain`, `undrain` and `reload`: what is asked of a gateway's admin port."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import typer

TIMEOUT_S = 30.0

Url = Annotated[
    str, typer.Option("--admin", help="The admin port of a gateway; of several workers, the first.")
]
Key = Annotated[
    str | None,
    typer.Option(envvar="GATEWAY_ADMIN_KEY", help="An admin's key, where the gateway has keys."),
]
Address = Annotated[str, typer.Argument(help="HOST:PORT of a replica, as `gateway replicas` says.")]
ModelId = Annotated[str | None, typer.Option("--model", help="Of this model alone.")]
DEFAULT_URL = "http://127.0.0.1:8082"
COLUMNS = ("replica", "state", "calls", "ahead", "tokens/s", "KV", "reuse told/predicted")


def replicas(
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that is told, as JSON.")
    ] = False,
) -> None:
    """Show every replica of every model: its state, the work ahead of it, what it reuses."""
    from rich.console import Console
    from rich.table import Table

    for told in _all_workers(url, key):
        if as_json:
            typer.echo(json.dumps(told))
            continue
        for model in told["models"]:
            of_worker = f", worker {told['worker']}" if told["workers"] > 1 else ""
            table = Table(*COLUMNS, title=f"{model['id']} ({model['policy']}{of_worker})")
            for replica in model["replicas"]:
                table.add_row(*_row(replica))
            Console().print(table)


def drain(address: Address, model: ModelId = None, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Send a replica no more requests; it finishes those it has."""
    _set_drained("drain", address, model, url, key)


def undrain(
    address: Address, model: ModelId = None, url: Url = DEFAULT_URL, key: Key = None
) -> None:
    """Send a replica requests again."""
    _set_drained("undrain", address, model, url, key)


def reload(url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Read the models file again; a bad one changes nothing, and it is said why."""
    for at in _workers(url, key):
        changes = _ask(at, "reload", key, {})
    for what, ids in changes.items():
        typer.echo(f"{what}: {', '.join(ids) or 'none'}")


def _set_drained(verb: str, address: str, model: str | None, url: str, key: str | None) -> None:
    for at in _workers(url, key):
        found = _ask(at, verb, key, {"address": address, "model": model})
    typer.echo(f"{verb}ed for {', '.join(found['models'])}")


def _row(replica: dict[str, Any]) -> tuple[str, ...]:
    state = f"{replica['state']}: {replica['reason']}" if replica["reason"] else replica["state"]
    return (
        replica["address"],
        state,
        str(replica["num_calls"]),
        f"{replica['ahead_s']:.2f} s",
        f"{replica['tokens_per_s']:.0f}",
        f"{replica['kv_used']:.0%}" if replica["kv_capacity_tokens"] else "",
        f"{replica['told_reuse_tokens']}/{replica['predicted_reuse_tokens']}",
    )


def _workers(url: str, key: str | None) -> Iterator[str]:
    """Yield the URL of each worker's admin port."""
    num_workers = int(_ask(url, "replicas", key)["workers"])
    base, _, port = url.rstrip("/").rpartition(":")
    yield from (f"{base}:{int(port) + number}" for number in range(num_workers))


def _all_workers(url: str, key: str | None) -> Iterator[Any]:
    for at in _workers(url, key):
        yield _ask(at, "replicas", key)


def _ask(url: str, what: str, key: str | None, body: Any = None) -> Any:
    """Return what the admin port answers; it is told why it does not."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(f"{url}/admin/{what}", data, headers), timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except HTTPError as error:
        _fail(_told(error))
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        _fail(f"no gateway answers at {url} ({reason}): give --admin URL, see GATEWAY_ADMIN_PORT")


def _told(error: HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered with HTTP status {error.code}"


def _fail(problem: str) -> NoReturn:
    typer.secho(f"error: {problem}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)
