"""The chat page and the API reference: files of this package, with the headers that fence them in.

Nothing here answers a question to a model; the page asks the API, as any client does.
"""

import asyncio
import gzip
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from gateway.errors import NotFound

STATIC = Path(__file__).parent / "static"
PAGES = {"/": "index.html", "/docs": "docs.html"}
OPEN_PATHS, OPEN_FOLDER = (*PAGES, "/openapi.json"), "/web/"
"""What needs no key: it is the same for all, and a browser sends none for a page."""
FILES = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.is_file()}

# Nothing from elsewhere and nothing inline.
FENCE = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
POLICIES = {
    # Markup comes out of DOMPurify, which makes the policy of that name, or not at all
    # (https://www.w3.org/TR/trusted-types/).
    "index.html": f"{FENCE}; require-trusted-types-for 'script'; trusted-types dompurify",
    "docs.html": FENCE,
}
HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent: whole and compressed."""

    content: bytes
    compressed: bytes
    headers: dict[str, str]

    def response(self, request: Request) -> Response:
        """Return the file, or that the one the browser has is still good."""
        if request.headers.get("if-none-match") == self.headers["ETag"]:
            return Response(status_code=304, headers=self.headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            packed = {**self.headers, "Content-Encoding": "gzip"}
            return Response(self.compressed, headers=packed)
        return Response(self.content, headers=self.headers)


def web_routes() -> APIRouter:
    """Return the routes of the pages, and of what they load."""
    router = APIRouter(include_in_schema=False)
    for path, name in PAGES.items():
        router.add_api_route(path, _page(name), methods=["GET"])

    @router.get("/web/{name:path}")
    async def file(name: str, request: Request) -> Response:
        if name not in FILES or name in PAGES.values():
            raise NotFound(f"There is nothing at GET /web/{name[:100]}.")
        return (await _asset(name)).response(request)

    return router


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        return (await _asset(name)).response(request)

    return page


async def _asset(name: str) -> Asset:
    return await asyncio.to_thread(_read, name)


@cache
def _read(name: str) -> Asset:
    content = FILES[name].read_bytes()
    headers = {
        **HEADERS,
        "Content-Type": _media_type(name),
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:20]}"',
    }
    headers["Content-Security-Policy"] = POLICIES.get(name, FENCE)
    return Asset(content, gzip.compress(content), headers)


def _media_type(name: str) -> str:
    if name.endswith((".js", ".mjs")):
        return "text/javascript; charset=utf-8"
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed
