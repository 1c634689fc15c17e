"""Usage added up and priced: as a table, as CSV, as JSON. For people and for spreadsheets."""

import csv
import io
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from gateway.traffic.usage_store import COLUMNS, Price, UsageStore

BY = ("tenant", "key", "model")
SINCE = "30d"
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIGURES = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds", "cost")


class QueryError(ValueError):
    """What was asked for is no report; the message says why."""


class Query(NamedTuple):
    """What to add up by, and of which time, in Unix seconds."""

    by: tuple[str, ...]
    since: float
    until: float

    @classmethod
    def of(cls, by: str = "", since: str = "", until: str = "") -> "Query":
        """Return the query that texts ask for: columns with commas, times as 7d or dates.

        Raises QueryError.
        """
        columns = tuple(name.strip() for name in by.split(",") if name.strip()) or BY
        for name in columns:
            if name not in COLUMNS:
                raise QueryError(f"{name[:100]!r} is none of {', '.join(COLUMNS)}")
        return cls(columns, _moment(since or SINCE), _moment(until) if until else time.time() + 1)


async def report(
    store: UsageStore, query: Query, prices: Mapping[str, Price]
) -> list[dict[str, Any]]:
    """Return the rows of a report; `cost` is None where a model has no price."""
    by = query.by if "model" in query.by else (*query.by, "model")
    priced: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in await store.sums(by, query.since, query.until):
        row["cost"] = _cost(row, prices.get(row["model"]))
        if "day" in row:
            row["day"] = (EPOCH + timedelta(days=row["day"])).strftime("%Y-%m-%d")
        group = tuple(row[name] for name in query.by)
        if group in priced:
            _add(priced[group], row)
        else:
            priced[group] = {name: row[name] for name in (*query.by, *FIGURES)}
    for row in priced.values():
        row["seconds"] = round(row["seconds"], 3)
    return list(priced.values())


def as_csv(rows: Sequence[Mapping[str, Any]], by: Sequence[str]) -> str:
    """Return rows as CSV with a line of names. Texts that a spreadsheet would run are quoted."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [*by, *FIGURES], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _inert(value) for name, value in row.items()})
    return out.getvalue()


def _inert(value: Any) -> Any:
    """Return a value that is no formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value


def _cost(row: Mapping[str, Any], price: Price | None) -> float | None:
    if price is None:
        return None
    fresh = row["prompt_tokens"] - row["cached_tokens"]
    millionths = fresh * price.input + row["cached_tokens"] * price.cached
    return float(round((millionths + row["completion_tokens"] * price.output) / 1e6, 9))


def _add(total: dict[str, Any], row: Mapping[str, Any]) -> None:
    for name in FIGURES:
        one, other = total[name], row[name]
        total[name] = None if one is None or other is None else one + other


def _moment(given: str) -> float:
    if matched := re.fullmatch(r"(\d{1,6})([mhdw])", given):
        return time.time() - timedelta(**{UNITS[matched[2]]: int(matched[1])}).total_seconds()
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise QueryError(
            f"{given[:100]!r} is no time: write 24h, 7d, or a date as in 2026-11-25"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
