"""Who gets in: the credentials of a request, and the keys and tokens they are held against."""

import asyncio
import time
from collections.abc import Mapping

import structlog

from gateway.errors import Unauthorized
from gateway.hosts import is_loopback
from gateway.settings import Settings, SettingsError
from gateway.traffic.caller import ANYONE, Caller
from gateway.traffic.key_file import KeyFile, KeyFileError
from gateway.traffic.keys import MAX_KEY_CHARS, KeyRing, is_key
from gateway.traffic.web_tokens import WebTokens, WebTokensError

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0
BEARER = "bearer "


class Access:
    """Tells whose request it is. Without any key, where that is allowed, it is anyone's.

    Once there was a key, a request without one is refused, also when the last has been revoked.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the keys. Raises SettingsError for what is set and cannot be used."""
        path = settings.keys_file
        self._file = KeyFile(path, settings.keys_secret_file) if path else None
        self._tokens = _web_tokens(settings)
        self._ring = KeyRing()
        self._stamp: tuple[int, ...] = ()
        self._is_open = settings.open or not (self._file or self._tokens)
        try:
            self._read()
        except KeyFileError as error:
            raise SettingsError(str(error)) from error

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return self._is_open

    async def admit(self, headers: Mapping[str, str]) -> Caller:
        """Return whose request has these headers. Raises Unauthorized."""
        if self._is_open:
            return ANYONE
        credential = _credential(headers)
        if not credential:
            raise Unauthorized(
                "No API key was given: send one as 'Authorization: Bearer KEY', or as 'x-api-key'."
            )
        found = await self._find(credential) if len(credential) <= MAX_KEY_CHARS else None
        if found is None:
            raise Unauthorized("The API key is not known here, or has expired.")
        return found

    async def watch(self) -> None:
        """Read the keys again whenever they change, until cancelled; what cannot be read is told
        and changes nothing."""
        fresh = asyncio.ensure_future(self._tokens.keep_fresh()) if self._tokens else None
        try:
            while True:
                await asyncio.sleep(LOOK_EVERY_S)
                await self.look()
        finally:
            if fresh:
                fresh.cancel()

    async def look(self) -> None:
        """Read the keys again if they have changed."""
        if self._file is None or self._file.stamp() == self._stamp:
            return
        try:
            await asyncio.to_thread(self._read)
        except KeyFileError as error:
            log.error("keys_unreadable", reason=str(error), hint="those read before still count")
        else:
            log.info("keys_read", count=len(self._ring))

    async def _find(self, credential: str) -> Caller | None:
        if self._tokens and not is_key(credential):
            return await self._tokens.find(credential)
        return self._ring.find(credential, time.time())

    def _read(self) -> None:
        if self._file is None:
            return
        stamp = self._file.stamp()
        self._stamp = stamp  # noted first: a file that is wrong is told of once
        self._ring = self._file.ring()
        if len(self._ring):
            self._is_open = False


def check_reach(settings: Settings, access: Access) -> None:
    """Raise SettingsError where others could reach a gateway that asks nobody for a key."""
    if settings.open or not access.is_open:
        return
    hosts = {"GATEWAY_HOST": settings.host}
    if settings.grpc_tls_client_ca is None:  # callers without a certificate do not get in
        hosts["GATEWAY_GRPC_HOST"] = settings.grpc_host
    if settings.admin_port:
        hosts["GATEWAY_ADMIN_HOST"] = settings.admin_host
    for name, host in hosts.items():
        if not is_loopback(host):
            raise SettingsError(
                f"{name} {host} can be reached from other machines, and no keys are set: anybody "
                "could use the models. Make keys with 'gateway keys create' and give --keys FILE, "
                "or say --open if that is meant"
            )


def _web_tokens(settings: Settings) -> WebTokens | None:
    if not settings.jwt_keys:
        return None
    try:
        tokens = WebTokens(settings.jwt_keys, settings.jwt_audience, settings.jwt_issuer)
        tokens.read()
    except WebTokensError as error:
        raise SettingsError(f"GATEWAY_JWT_KEYS: {error}") from error
    return tokens


def _credential(headers: Mapping[str, str]) -> str:
    """Return the key that headers bear, "" without one."""
    authorization = headers.get("authorization", "")
    if authorization[: len(BEARER)].lower() == BEARER:
        return authorization[len(BEARER) :].strip()
    return headers.get("x-api-key", "").strip()
