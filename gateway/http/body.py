"""Request bodies as bytes: read within a limit of size and of time, and inflated."""

import asyncio
import sys

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.errors import RequestTimeout, RequestTooLarge
from gateway.http.coding import inflated
from gateway.http.disconnect import ClientGone
from gateway.http.exchange import HEADERS
from gateway.http.media import coding_of
from gateway.settings import Settings

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout


BOM = b"\xef\xbb\xbf"


async def read_within(request: Request, settings: Settings) -> bytes:
    """Return the request's body in plain, without a byte order mark.

    Raises RequestTooLarge before more than the limit is held, RequestTimeout when the body is
    slow to come, ClientGone when it never comes, UnsupportedMediaType for a coding that is not
    read here, InvalidRequest for one that is broken.
    """
    coding = coding_of(request.scope[HEADERS])
    raw = await _read_in_time(request, settings)
    if coding:
        raw = await asyncio.to_thread(inflated, raw, coding, settings.max_body_bytes)
    return raw.removeprefix(BOM)


async def _read_in_time(request: Request, settings: Settings) -> bytes:
    try:
        async with timeout(settings.body_timeout_s):
            return await _read(request, settings.max_body_bytes)
    except asyncio.TimeoutError:
        raise RequestTimeout(
            f"The request body did not arrive within {settings.body_timeout_s:g} seconds."
        ) from None
    except ClientDisconnect:
        raise ClientGone from None


async def _read(request: Request, max_bytes: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(raw)


def _too_large(max_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request body is larger than {max_bytes} bytes.")
