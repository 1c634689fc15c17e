"""JSON Web Tokens as keys: signed by somebody whose public keys are in a file or at a URL.

RFC 7519 (tokens) and RFC 7517 (sets of keys). Only signatures of key pairs count: with a shared
secret, whoever checks tokens could write them.
"""

import asyncio
import hashlib
import json
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import msgspec
import structlog

from gateway.traffic.caller import Caller, Limits, Priority

log = structlog.get_logger(__name__)

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
LEEWAY_S = 30
MAX_SET_BYTES = 2**20
FETCH_TIMEOUT_S = 5
FRESH_S = 300.0
"""A set of keys is looked at again after so long,"""
RETRY_S = 10.0
"""and earlier for a token whose key it lacks, but no more often than this."""
MAX_REMEMBERED = 4096
MAX_SUBJECT = 256


class WebTokensError(Exception):
    """The set of keys cannot be used; the message says why."""


class Grant(msgspec.Struct, frozen=True):
    """What the claim `gateway` of a token may hold."""

    tenant: str = ""
    models: frozenset[str] | None = None
    priority: Priority = msgspec.field(default=Priority.INTERACTIVE, name="class")
    admin: bool = False
    limits: Limits = Limits()


class WebTokens:
    """Checks tokens. `source` is a path, or a URL under https (http on this machine)."""

    def __init__(self, source: str, audience: str = "", issuer: str = "") -> None:
        check_source(source)
        self._source, self._audience, self._issuer = source, audience, issuer
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._known: dict[bytes, Caller] = {}
        self._read_at = -RETRY_S
        self._reading = asyncio.Lock()

    def read(self) -> None:
        """Read the set of keys, which takes its time. Raises WebTokensError."""
        keys = _parsed(_fetched(self._source))
        if {id: str(key.key_id) for id, key in keys.items()} != self._ids():
            log.info("token_keys_read", count=len(keys))
        self._keys, self._known = keys, {}
        self._read_at = time.monotonic()

    async def find(self, token: str) -> Caller | None:
        """Return whose token this is, None for one that is not valid, or not any more."""
        mark = hashlib.sha256(token.encode()).digest()
        known = self._known.get(mark)
        if known is not None:
            return known if time.time() < known.expires_at else None
        key = await self._key_of(token)
        if key is None:
            return None
        caller = self._verified(token, key)
        if caller:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[mark] = caller
        return caller

    async def keep_fresh(self) -> None:
        """Read the set of keys again and again, until cancelled."""
        while True:
            await asyncio.sleep(FRESH_S)
            await self._reread(FRESH_S / 2)

    async def _key_of(self, token: str) -> jwt.PyJWK | None:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            return None
        key_id = header.get("kid")
        if header.get("alg") not in ALGORITHMS or not isinstance(key_id, str | None):
            return None
        if key_id not in self._keys and not self._is_alone(key_id):
            await self._reread(RETRY_S)
        if self._is_alone(key_id):
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _is_alone(self, key_id: str | None) -> bool:
        return key_id is None and len(self._keys) == 1

    async def _reread(self, not_within_s: float) -> None:
        async with self._reading:
            if time.monotonic() - self._read_at < not_within_s:
                return
            try:
                await asyncio.to_thread(self.read)
            except WebTokensError as error:
                self._read_at = time.monotonic()
                log.warning("token_keys_unreadable", reason=str(error))

    def _verified(self, token: str, key: jwt.PyJWK) -> Caller | None:
        try:
            claims = jwt.decode(
                token,
                key=key,
                algorithms=ALGORITHMS,
                audience=self._audience or None,
                issuer=self._issuer or None,
                leeway=LEEWAY_S,
                options={"require": ["exp", "sub"], "verify_aud": bool(self._audience)},
            )
            grant = msgspec.convert(claims.get("gateway", {}), Grant)
        except (jwt.PyJWTError, msgspec.ValidationError, ValueError, TypeError):
            return None
        return _caller(claims, grant)

    def _ids(self) -> dict[str | None, str]:
        return {id: str(key.key_id) for id, key in self._keys.items()}


def check_source(source: str) -> None:
    """Raise WebTokensError for a URL that anybody on the way could answer."""
    if "://" not in source:
        return
    parts = urlsplit(source)
    is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_here):
        raise WebTokensError("the URL of a set of keys has to be https: who answers decides")


def _caller(claims: Mapping[str, Any], grant: Grant) -> Caller | None:
    subject = claims["sub"]
    if not subject or len(subject) > MAX_SUBJECT or not subject.isprintable():
        return None
    return Caller(
        key=f"jwt:{subject}",
        name=subject,
        tenant=grant.tenant,
        models=grant.models,
        priority=grant.priority,
        limits=grant.limits,
        is_admin=grant.admin,
        expires_at=float(claims["exp"]) + LEEWAY_S,
    )


class _Straight(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: what is fetched decides who gets in."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Straight)


def _fetched(source: str) -> bytes:
    try:
        if "://" not in source:
            return Path(source).read_bytes()[:MAX_SET_BYTES]
        with _OPENER.open(source, timeout=FETCH_TIMEOUT_S) as response:
            return bytes(response.read(MAX_SET_BYTES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise WebTokensError(f"the set of keys at {source} cannot be read: {reason}") from None


def _parsed(raw: bytes) -> dict[str | None, jwt.PyJWK]:
    try:
        given = json.loads(raw)["keys"]
        keys = [_key(one) for one in given]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WebTokensError("what was read is no set of keys (RFC 7517)") from error
    usable = {key.key_id: key for key in keys if key}
    if not usable:
        raise WebTokensError("the set holds no public key that tokens could be checked with")
    return usable


def _key(given: Mapping[str, Any]) -> jwt.PyJWK | None:
    if given.get("kty") == "oct" or given.get("use", "sig") != "sig":
        return None
    try:
        return jwt.PyJWK(dict(given))
    except jwt.PyJWTError:
        return None
