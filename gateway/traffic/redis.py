"""A ledger in Redis, shared by all gateways that are given its URL."""

import asyncio
from functools import cache
from importlib.resources import files

import msgspec
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from gateway.traffic.counts import LEASE_MS, Batch, Outcome, StoreError

TAG = "{gateway}"
"""In the name of every key, so that a cluster keeps them on one node: they change together."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outcome).decode


class RedisStore:
    """A Redis of version 5 or later. `url` may hold a password, and is told nowhere."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Raises ValueError for what is no URL of Redis."""
        self._redis = redis.asyncio.Redis.from_url(
            url,
            single_connection_client=False,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # a step done twice would count twice
        )
        self._timeout_s = timeout_s
        self._hash = ""

    async def run(self, holder: str, batch: Batch) -> Outcome:
        payload = _encode(batch)
        try:
            return _decode(await asyncio.wait_for(self._run(holder, payload), self._timeout_s))
        except asyncio.TimeoutError as error:
            raise StoreError(f"Redis took longer than {self._timeout_s:g} s") from error
        except (RedisError, OSError, msgspec.MsgspecError) as error:
            # Not its text, which may quote the URL.
            raise StoreError(f"Redis: {type(error).__name__}") from error

    async def close(self) -> None:
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _run(self, holder: str, payload: bytes) -> bytes:
        given = (1, TAG, holder, str(LEASE_MS), payload)
        try:
            if not self._hash:
                self._hash = await self._redis.script_load(script())
            return await self._evaluate(given)
        except NoScriptError:
            self._hash = await self._redis.script_load(script())
            return await self._evaluate(given)

    async def _evaluate(self, given: tuple[int, str, str, str, bytes]) -> bytes:
        answer: bytes = await self._redis.evalsha(self._hash, *given)
        return answer


@cache
def script() -> str:
    """Return the ledger as Redis runs it."""
    return (files("gateway.traffic") / "ledger.lua").read_text()
