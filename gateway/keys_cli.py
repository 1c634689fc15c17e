"""`gateway keys`: makes, lists, revokes and replaces keys in the file that a gateway reads."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from gateway.traffic.keys import hash_of, new_id, new_key

if TYPE_CHECKING:
    from gateway.traffic.key_file import HashEntry, KeyEntry

keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Make, list, revoke and replace the keys that callers need. A gateway that runs "
    "notices within a second or two.",
)

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

File = Annotated[
    Path,
    typer.Option("--file", envvar="GATEWAY_KEYS_FILE", dir_okay=False, help="The file of keys."),
]
SecretFile = Annotated[
    Path | None,
    typer.Option(
        envvar="GATEWAY_KEYS_SECRET_FILE",
        dir_okay=False,
        show_default="FILE.secret",
        help="What hashes are keyed with; made if it is missing.",
    ),
]
KeyId = Annotated[str, typer.Argument(help="A key's id, as `gateway keys list` tells it.")]
DEFAULT_FILE = Path("keys.yaml")


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="Whose it is, or what for.")],
    tenant: Annotated[str, typer.Option(help="Whom usage is told for.")] = "",
    model: Annotated[
        list[str] | None, typer.Option(help="A model it may use; may be repeated. Default: all.")
    ] = None,
    priority: Annotated[
        Literal["interactive", "batch"],
        typer.Option("--class", help="batch gets what interactive leaves."),
    ] = "interactive",
    expires: Annotated[
        str | None, typer.Option(help="After how long it ends, as in 90d, or on which date.")
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=0)] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(min=0)] = None,
    concurrent_requests: Annotated[int | None, typer.Option(min=0)] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May see /metrics and /admin.")] = False,
    file: File = DEFAULT_FILE,
    secret_file: SecretFile = None,
) -> None:
    """Make a key and print it: it is not kept, so this is the only time it can be seen."""
    from gateway.traffic.key_file import HashEntry, KeyEntry, KeyFile, LimitsEntry

    key_id = new_id()
    key = new_key(key_id)
    with _told():
        key_file = KeyFile(file, secret_file)
        ends_at = _moment(expires)
        with key_file.changing() as entries:
            fields = {
                "id": key_id,
                "name": name,
                "tenant": tenant,
                "created": _now(),
                "expires": ends_at,
                "models": tuple(model) if model else None,
                "class": priority,
                "admin": admin,
                "limits": LimitsEntry(
                    requests_per_minute=requests_per_minute,
                    tokens_per_minute=tokens_per_minute,
                    concurrent_requests=concurrent_requests,
                ),
                "hashes": (HashEntry(hash=hash_of(key, key_file.make_secret())),),
            }
            entries.append(KeyEntry.model_validate(fields))
    _say(f"made key {key_id} in {file}; it cannot be shown again:")
    typer.echo(key)


@keys.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print them as JSON.")] = False,
    file: File = DEFAULT_FILE,
) -> None:
    """Show the keys, without what would let anybody in."""
    from gateway.traffic.key_file import KeyFile

    with _told():
        rows = [_shown(entry) for entry in KeyFile(file).entries()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[column]) for column in COLUMNS))
    Console().print(table, soft_wrap=True)


@keys.command()
def revoke(key_id: KeyId, file: File = DEFAULT_FILE) -> None:
    """End a key at once."""
    from gateway.traffic.key_file import KeyFile

    with _told(), KeyFile(file).changing() as entries:
        entries.remove(_found(entries, key_id, file))
    _say(f"revoked key {key_id}")


@keys.command()
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option(help="How long the key that is replaced goes on, as in 24h or 0m.")
    ] = "24h",
    file: File = DEFAULT_FILE,
    secret_file: SecretFile = None,
) -> None:
    """Replace a key: print a new one that has all the old one had; the old one ends later."""
    from gateway.traffic.key_file import HashEntry, KeyFile

    key = new_key(key_id)
    with _told():
        key_file = KeyFile(file, secret_file)
        until = _now() + _duration(overlap)
        with key_file.changing() as entries:
            entry = _found(entries, key_id, file)
            old = [_ending(one, until) for one in entry.hashes if not _is_over(one)]
            new = HashEntry(hash=hash_of(key, key_file.secret()))
            replaced = entry.model_copy(update={"hashes": (new, *old)})
            entries[entries.index(entry)] = replaced
    _say(f"replaced key {key_id}; the old one ends {until:%Y-%m-%d %H:%M} UTC, the new one is:")
    typer.echo(key)


COLUMNS = ("id", "name", "tenant", "class", "models", "limits", "expires", "admin")


def _shown(entry: "KeyEntry") -> dict[str, object]:
    shown = entry.model_dump(mode="json", by_alias=True, exclude={"hashes"})
    shown["limits"] = {name: value for name, value in shown["limits"].items() if value is not None}
    return shown


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={one}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value in (None, False) else str(value)


def _found(entries: "list[KeyEntry]", key_id: str, file: Path) -> "KeyEntry":
    for entry in entries:
        if entry.id == key_id:
            return entry
    raise _Refused(f"{file} has no key {key_id!r}: 'gateway keys list' shows those it has")


def _ending(hashed: "HashEntry", until: datetime) -> "HashEntry":
    earlier = min(hashed.until or until, until)
    return hashed.model_copy(update={"until": earlier})


def _is_over(hashed: "HashEntry") -> bool:
    return hashed.until is not None and hashed.until <= _now()


def _moment(given: str | None) -> datetime | None:
    if given is None:
        return None
    if re.fullmatch(r"\d{4}-\d\d-\d\d.*", given):
        try:
            moment = datetime.fromisoformat(given)
        except ValueError as error:
            raise _Refused(f"--expires {given!r} is no date, as in 2027-01-31") from error
        return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return _now() + _duration(given)


def _duration(given: str) -> timedelta:
    matched = re.fullmatch(r"(\d{1,6})([mhdw])", given)
    if matched is None:
        raise _Refused(f"{given!r} is no duration: write 30m, 24h, 90d or 8w")
    return timedelta(**{UNITS[matched[2]]: int(matched[1])})


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def _say(line: str) -> None:
    typer.echo(line, err=True)


class _Refused(Exception):
    """What was asked for cannot be; the message says why."""


@contextmanager
def _told() -> Iterator[None]:
    from pydantic import ValidationError

    from gateway.traffic.key_file import KeyFileError

    try:
        yield
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        _fail(_Refused(f"--{first['loc'][0]}: {first['msg']}"))
    except (KeyFileError, _Refused) as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
    raise typer.Exit(1)
