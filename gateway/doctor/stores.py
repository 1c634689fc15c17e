"""Keys, the Redis of shared limits, the database of usage: that they can be used."""

import asyncio
from collections.abc import AsyncIterator

from gateway.access import Access, check_reach
from gateway.doctor.finding import Finding, fine, wrong
from gateway.settings import Settings, SettingsError
from gateway.stores import keeps_usage, usage_folder, usage_store

PATIENCE_S = 5.0


async def examine_stores(settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found of all that is kept outside of a process."""
    try:
        access = Access(settings)
        check_reach(settings, access)
    except SettingsError as error:
        yield wrong("keys", str(error), "gateway keys list; gateway keys create")
        return
    yield fine("keys", "none are needed" if access.is_open else "callers need one")
    if settings.redis:
        yield await _redis(settings)
    async for finding in _usage(settings, has_keys=not access.is_open):
        yield finding


async def _redis(settings: Settings) -> Finding:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    advice = "start Redis there, or correct GATEWAY_REDIS: redis://HOST:6379/0"
    try:
        client = Redis.from_url(settings.redis, socket_connect_timeout=PATIENCE_S)
    except ValueError:
        return wrong("Redis", "GATEWAY_REDIS is no URL of Redis", advice)
    try:
        await asyncio.wait_for(client.ping(), PATIENCE_S)
    except asyncio.TimeoutError:
        return wrong("Redis", f"it does not answer within {PATIENCE_S:g} s", advice)
    except (RedisError, OSError) as error:
        # Not its text, which may quote the URL and so a password.
        return wrong("Redis", f"it cannot be used: {type(error).__name__}", advice)
    finally:
        await client.aclose()
    return fine("Redis", "it answers")


async def _usage(settings: Settings, *, has_keys: bool) -> AsyncIterator[Finding]:
    from gateway.traffic.usage_store import UsageError

    try:
        if not keeps_usage(settings, has_keys=has_keys):
            return
        store = usage_store(settings)
    except SettingsError as error:
        yield wrong("usage", str(error), "correct GATEWAY_USAGE or GATEWAY_STATE_DIR")
        return
    try:
        await asyncio.wait_for(store.sums((), 0.0, 0.0), PATIENCE_S)
        yield fine("usage", f"it is kept; journals in {usage_folder(settings)}")
    except asyncio.TimeoutError:
        yield wrong("usage", f"its database takes over {PATIENCE_S:g} s", "look after it")
    except UsageError as error:
        yield wrong("usage", str(error), "start the database, or correct GATEWAY_USAGE")
    finally:
        await store.close()
