"""From settings to what outlives a request: the store of limits, and that of usage.

What they import is heavy, and so only imported where it is set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.settings import ModelSettings, Settings, SettingsError
from gateway.telemetry.metrics import LIMITS_WITHOUT_STORE
from gateway.traffic.counts import Policy, SharedCounts

if TYPE_CHECKING:
    from gateway.traffic.usage_store import Price, UsageStore

POSTGRES = ("postgresql://", "postgres://")
USAGE_FORMS = "auto, off, sqlite or postgresql://USER:PASSWORD@HOST/DATABASE"


def limits_store(settings: Settings) -> SharedCounts | None:
    """Return what counts limits for several gateways, None where each counts for itself.

    Raises SettingsError for what is no URL of Redis.
    """
    if not settings.redis:
        return None
    from gateway.traffic.redis import RedisStore

    try:
        store = RedisStore(settings.redis, settings.redis_timeout_s)
    except ValueError:
        raise SettingsError(
            "GATEWAY_REDIS is no URL of Redis: write redis://HOST:6379/0, or rediss:// with TLS"
        ) from None
    count = LIMITS_WITHOUT_STORE.labels(settings.redis_policy).inc
    return SharedCounts(store, Policy(settings.redis_policy), count)


@dataclass(frozen=True, slots=True)
class UsageLedger:
    """The database of usage, and what models cost."""

    store: "UsageStore"
    prices: "dict[str, Price]"


def prices_of(models: Sequence[ModelSettings]) -> "dict[str, Price]":
    """Return the prices of models by id; an adapter costs what its base does."""
    from gateway.traffic.usage_store import Price

    prices = {}
    for model in models:
        if given := model.price:
            cached = given.input if given.cached is None else given.cached
            for name in (model.id, *(adapter.id for adapter in model.lora)):
                prices[name] = Price(given.input, given.output, cached)
    return prices


def keeps_usage(settings: Settings, *, has_keys: bool) -> bool:
    """Tell whether usage is kept. Raises SettingsError for a setting that is none."""
    given = settings.usage
    if given not in ("auto", "off", "sqlite") and not given.startswith(POSTGRES):
        raise SettingsError(f"GATEWAY_USAGE is none of {USAGE_FORMS}")
    return given != "off" and (given != "auto" or has_keys)


def usage_folder(settings: Settings) -> Path:
    """Return where journals of usage are, and SQLite's file."""
    return settings.state_dir.expanduser() / "usage"


def usage_store(settings: Settings) -> "UsageStore":
    """Return the database of usage. Raises SettingsError."""
    from gateway.traffic.usage_store import UsageError, UsageStore

    folder = usage_folder(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for prefix in POSTGRES:
            if settings.usage.startswith(prefix):
                rest = settings.usage[len(prefix) :]
                return UsageStore(f"postgresql+asyncpg://{rest}")
        return UsageStore(f"sqlite+aiosqlite:///{folder / 'usage.sqlite'}")
    except UsageError as error:
        raise SettingsError(f"GATEWAY_USAGE: {error}") from None
    except OSError as error:
        raise SettingsError(f"GATEWAY_STATE_DIR {folder}: {error.strerror}") from error
