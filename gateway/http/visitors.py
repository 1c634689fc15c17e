"""Whom requests come from, and for which host: pages of other sites are kept out.

A browser lets any page send requests to any address, this machine's own among them.
"""

import socket
from collections.abc import Mapping

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from gateway.errors import ForeignOrigin, GatewayError, Misdirected
from gateway.hosts import is_address, is_loopback
from gateway.settings import Settings, listed

ANY = "*"
EXPOSED = (
    *("x-request-id", "x-should-retry", "retry-after", "retry-after-ms"),
    *(f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset")),
    *(f"x-ratelimit-{what}-tokens" for what in ("limit", "remaining", "reset")),
)
OWN_SUFFIXES = (".localhost", ".local", ".internal")
"""Names under these are never another site's (RFC 6761, RFC 6762, ICANN's .internal)."""

MAX_SHOWN = 100
MAX_KNOWN = 256


class Visitors:
    """Refuses what a page of another site makes its reader's browser send.

    Such a page bears its site in `Origin`; one whose name was made to point here (DNS rebinding)
    is of the same origin, but bears a name in `Host` that nobody gave this server.
    """

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(listed(settings.cors_origins))
        self._hosts = frozenset(listed(settings.allowed_hosts))
        self._is_any_host = ANY in self._hosts or not (self._hosts or is_loopback(settings.host))
        self._known: set[str] = set()

    def objection(self, headers: Mapping[str, str]) -> GatewayError | None:
        """Return why a request with these headers is refused, if it is."""
        host = headers.get("host", "")
        if host not in self._known and not self._is_known(host):
            return Misdirected(
                f"This server does not go by the name {_name(host)[:MAX_SHOWN]!r}: add it to "
                "GATEWAY_ALLOWED_HOSTS if it should."
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_welcome(origin, host, headers):
            return ForeignOrigin(
                f"Pages of {origin[:MAX_SHOWN]!r} may not use this server: add it to "
                "GATEWAY_CORS_ORIGINS if they should."
            )
        return None

    def _is_known(self, host: str) -> bool:
        name = _name(host)
        if not (self._is_any_host or _is_own(name) or name in self._hosts):
            return False
        if len(self._known) < MAX_KNOWN:
            self._known.add(host)
        return True

    def _is_welcome(self, origin: str, host: str, headers: Mapping[str, str]) -> bool:
        if ANY in self._origins or origin.lower() in self._origins:
            return True
        # Browsers write this, and pages cannot; a proxy may have changed `Host` on the way.
        if headers.get("sec-fetch-site") == "same-origin":
            return True
        site = _site(origin.partition("://")[2])
        forwarded = headers.get("x-forwarded-host", "").partition(",")[0]
        return bool(site) and site in (_site(host), _site(forwarded))


def with_cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return `app`, readable by the pages of the origins that are set; itself for none."""
    origins = listed(settings.cors_origins)
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )


def _is_own(name: str) -> bool:
    """Tell whether a name cannot be another site's."""
    if "." not in name or name.endswith(OWN_SUFFIXES) or name == socket.gethostname().lower():
        return True
    return is_address(name)


def _name(host: str) -> str:
    """Return a Host header's name in small letters, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _site(host: str) -> str:
    """Return host and port in the form in which two of them can be compared."""
    return host.strip().lower().removesuffix(":80").removesuffix(":443")
