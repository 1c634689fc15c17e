"""For whom a proxy asks, by the header that it writes; believed of the proxies that are trusted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv6Address,
    ip_address,
    ip_network,
)
from typing import Literal

from gateway.settings import Settings, listed

Header = Literal["x-forwarded", "forwarded"]
RawHeaders = Sequence[tuple[bytes, bytes]]

MAX_HOPS = 32
"""Of a header's addresses, the last ones so many are looked at."""
SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Client:
    """Whom a request comes from, and how it came to the proxy; "" where that is not told."""

    address: str
    scheme: str = ""


class Proxies:
    """The addresses that may say for whom they ask.

    A caller can write any header, and proxies pass on what they do not know: so only `header` is
    read, and of it only what trusted proxies added, which is what stands last.
    """

    def __init__(self, networks: Sequence[str], header: Header = "x-forwarded") -> None:
        """Raises ValueError for what is neither an address nor a network."""
        self._networks = tuple(ip_network(network) for network in networks)
        self._read = _forwarded if header == "forwarded" else _x_forwarded

    @classmethod
    def of(cls, settings: Settings) -> "Proxies":
        """Return those that are set."""
        return cls(listed(settings.trusted_proxies), settings.proxy_header)

    def trusts(self, address: str) -> bool:
        """Tell whether an address is that of a trusted proxy."""
        parsed = _address(address) if self._networks else None
        return parsed is not None and self._has(parsed)

    def client(self, proxy: str, headers: RawHeaders) -> Client:
        """Return for whom a trusted proxy asks: the nearest that is no trusted proxy itself.

        What is no address says nothing of who is behind it, so it ends the way back.
        """
        found = Client(proxy)
        for number, (host, scheme) in enumerate(self._read(headers)):
            parsed = _address(host)
            if number == MAX_HOPS or parsed is None:
                break
            found = Client(str(parsed), scheme)
            if not self._has(parsed):
                break
        return found

    def _has(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _x_forwarded(headers: RawHeaders) -> Iterator[tuple[str, str]]:
    """Yield `X-Forwarded-For` from its end, with the last of `X-Forwarded-Proto`."""
    scheme = _scheme(next(_backwards(headers, b"x-forwarded-proto"), ""))
    for host in _backwards(headers, b"x-forwarded-for"):
        yield host, scheme


def _forwarded(headers: RawHeaders) -> Iterator[tuple[str, str]]:
    """Yield `for` and `proto` of `Forwarded` from its end (RFC 7239, 4)."""
    for element in _backwards(headers, b"forwarded"):
        pairs = (pair.partition("=") for pair in element.split(";"))
        told = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
        yield told.get("for", ""), _scheme(told.get("proto", ""))


def _backwards(headers: RawHeaders, wanted: bytes) -> Iterator[str]:
    """Yield the items of a header that lists, of all its lines, the last first."""
    for name, value in reversed(headers):
        if name == wanted:
            rest, comma = value, b","
            while comma:
                rest, comma, item = rest.rpartition(b",")
                yield item.decode("latin-1").strip()


def _scheme(told: str) -> str:
    return told.lower() if told.lower() in SCHEMES else ""


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that is written, less a port; None for anything else."""
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        parsed = ip_address(host)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
