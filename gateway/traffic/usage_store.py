"""Where usage is kept and added up: SQLite or PostgreSQL, one set of statements for both."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import Column, Float, Integer, MetaData, String, Table, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.traffic.usage import Journal, Row, left_behind, rows_of

log = structlog.get_logger(__name__)

CARRY_EVERY_S = 1.0
ADOPT_EVERY_S = 30.0
LONGEST_PAUSE_S = 30.0
BATCH = 500
SECONDS_A_DAY = 86_400
COLUMNS = ("tenant", "key", "model", "finish_reason", "day")
"""What rows can be added up by."""

metadata = MetaData()
usage = Table(
    "gateway_usage",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("request_id", String(128), nullable=False),
    Column("at", Float, nullable=False, index=True),
    Column("day", Integer, nullable=False),
    Column("key", String(300), nullable=False),
    Column("tenant", String(256), nullable=False),
    Column("model", String(256), nullable=False),
    Column("prompt_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("finish_reason", String(64), nullable=False),
)
SUMS = ("prompt_tokens", "cached_tokens", "completion_tokens", "seconds")


class UsageError(Exception):
    """The store cannot be used; the message says why, and never its password."""


class Price(NamedTuple):
    """What a million tokens cost."""

    input: float
    output: float
    cached: float


class UsageStore:
    """A database of rows. `url` is sqlite+aiosqlite:///PATH or postgresql+asyncpg://..."""

    def __init__(self, url: str) -> None:
        """Raise UsageError for what is no URL."""
        try:
            self._engine: AsyncEngine = create_async_engine(url, pool_pre_ping=True)
        except (ArgumentError, ValueError, ImportError) as error:
            raise UsageError(f"usage: not a URL of a database: {type(error).__name__}") from None
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine.sync_engine, "connect", _share)
        self._is_made = False
        self._making = asyncio.Lock()

    async def add(self, rows: Sequence[Row]) -> None:
        """Keep rows; those that are kept already stay as they are. Raises UsageError."""
        statement, names = self._insertion()
        try:
            await self._make()
            async with self._engine.begin() as connection:
                for first in range(0, len(rows), BATCH):
                    some = [_values(row, names) for row in rows[first : first + BATCH]]
                    await connection.exec_driver_sql(statement, some)
        except (SQLAlchemyError, OSError) as error:
            raise UsageError(_told(error)) from None

    async def sums(self, by: Sequence[str], since: float, until: float) -> list[dict[str, Any]]:
        """Return what was used between two times, added up by COLUMNS. Raises UsageError."""
        columns = [usage.c[name] for name in by]
        totals = [func.sum(usage.c[name]).label(name) for name in SUMS]
        statement = (
            select(*columns, func.count().label("requests"), *totals)
            .where(usage.c.at >= since, usage.c.at < until)
            .group_by(*columns)
            .order_by(*columns)
        )
        try:
            await self._make()
            async with self._engine.connect() as connection:
                result = await connection.execute(statement)
                return [dict(row) for row in result.mappings()]
        except (SQLAlchemyError, OSError) as error:
            raise UsageError(_told(error)) from None

    async def close(self) -> None:
        """Let go of the connections."""
        await self._engine.dispose()

    def _insertion(self) -> tuple[str, Sequence[str]]:
        """Return a statement as the driver takes it, and the columns of its parameters in order.

        Handing the driver tuples costs a third of what it costs to have each row prepared.
        """
        dialect = self._engine.dialect
        insert = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
        statement = insert(usage).on_conflict_do_nothing(index_elements=["id"])
        compiled = statement.compile(dialect=dialect)
        return str(compiled), compiled.positiontup or ()

    async def _make(self) -> None:
        """Make what is missing. Others may be doing the same, and one of us be too late."""
        async with self._making:
            for last in (False, False, True):
                if self._is_made:
                    return
                try:
                    async with self._engine.begin() as connection:
                        await connection.run_sync(metadata.create_all)
                    self._is_made = True
                except DBAPIError:
                    if last:
                        raise


async def carry(folder: Path, store: UsageStore) -> None:
    """Take the journals that nobody writes any more to the store. Raises UsageError."""
    for path in await asyncio.to_thread(lambda: list(left_behind(folder))):
        await _carry_one(path, store)


async def keep_carrying(folder: Path, journal: Journal, store: UsageStore) -> None:
    """Take rows to the store every second, until cancelled, and then what is left.

    A store that cannot be reached is told of; rows wait for it in their journals.
    """
    pause_s, adopted_at = CARRY_EVERY_S, 0.0
    try:
        while True:
            try:
                await _carry_turn(journal, store)
                if time.monotonic() - adopted_at > ADOPT_EVERY_S:
                    await carry(folder, store)
                    adopted_at = time.monotonic()
                pause_s = CARRY_EVERY_S
            except UsageError as error:
                adopted_at, pause_s = 0.0, min(2 * pause_s, LONGEST_PAUSE_S)
                log.warning("usage_waits", reason=str(error), again_in_s=pause_s)
            await asyncio.sleep(pause_s)
    finally:
        with suppress(UsageError):
            await asyncio.shield(_carry_turn(journal, store))
        journal.close()
        await store.close()


async def _carry_turn(journal: Journal, store: UsageStore) -> None:
    if path := journal.turn():
        await _carry_one(path, store)


async def _carry_one(path: Path, store: UsageStore) -> None:
    try:
        rows = await asyncio.to_thread(rows_of, path)
    except FileNotFoundError:
        return  # another process was faster
    if rows:
        await store.add(rows)
    await asyncio.to_thread(path.unlink, missing_ok=True)


def _values(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    """Return a row's columns in order; `day` is in days since 1970, UTC."""
    values = {**msgspec.structs.asdict(row), "day": int(row.at // SECONDS_A_DAY)}
    return tuple([values[name] for name in names])


def _share(connection: Any, _: Any) -> None:
    """Let several processes use one file: readers do not wait for a writer, writers take turns."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.close()


def _told(error: Exception) -> str:
    """Return what went wrong without the statement, its values, or where the database is."""
    origin = getattr(error, "orig", None) or error
    return f"the database of usage does not answer: {type(origin).__name__}"
