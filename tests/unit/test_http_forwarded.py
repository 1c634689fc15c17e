"""For whom a proxy asks: whose word counts, and how far."""

import asyncio

import httpx
import pytest
from structlog.testing import capture_logs

from gateway.http.forwarded import MAX_HOPS, Client, Proxies
from gateway.settings import Settings, SettingsError, load_settings
from tests.fakes import FakeEngine
from tests.serving import port_of, said_to, serving

FOR, PROTO, FORWARDED = "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"
TRUSTED = ("10.0.0.0/8", "::1")


def client(*lines: tuple[str, str], header: str = "x-forwarded") -> Client:
    """Return for whom 10.0.0.1 asks with these header lines."""
    raw = [(name.lower().encode(), value.encode()) for name, value in lines]
    return Proxies(TRUSTED, header).client("10.0.0.1", raw)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        pytest.param([], "10.0.0.1", id="silent"),
        pytest.param([(FOR, "192.0.2.7")], "192.0.2.7", id="one"),
        pytest.param([(FOR, "1.1.1.1, 192.0.2.7")], "192.0.2.7", id="the-callers-own-first"),
        pytest.param([(FOR, "192.0.2.7,10.2.3.4 , ::1")], "192.0.2.7", id="through-several"),
        pytest.param([(FOR, "1.1.1.1"), (FOR, "192.0.2.7")], "192.0.2.7", id="two-lines"),
        pytest.param([(FOR, "192.0.2.7:4711")], "192.0.2.7", id="port"),
        pytest.param([(FOR, "[2001:DB8::1]:4711")], "2001:db8::1", id="ipv6-port"),
        pytest.param([(FOR, "2001:db8::1")], "2001:db8::1", id="ipv6"),
        pytest.param([(FOR, "::ffff:192.0.2.7")], "192.0.2.7", id="ipv4-in-ipv6"),
        pytest.param([(FOR, "10.9.9.9, 10.2.3.4")], "10.9.9.9", id="only-proxies"),
        pytest.param([(FOR, "192.0.2.7, unknown, 10.2.3.4")], "10.2.3.4", id="unknown-between"),
        pytest.param([(FOR, "me")], "10.0.0.1", id="nonsense"),
        pytest.param([(FOR, "")], "10.0.0.1", id="empty"),
        pytest.param([(FORWARDED, "for=192.0.2.7")], "10.0.0.1", id="the-other-header"),
        pytest.param([(FOR, "192.0.2.7" + ",10.0.0.2" * MAX_HOPS)], "10.0.0.2", id="too-many"),
    ],
)
def test_whom_trusted_proxies_name_last_is_the_client(
    lines: list[tuple[str, str]], address: str
) -> None:
    assert client(*lines).address == address


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([(FORWARDED, "for=192.0.2.7")], Client("192.0.2.7"), id="one"),
        pytest.param(
            [(FORWARDED, 'For="[2001:db8::1]:4711"; Proto=HTTPS;by=10.0.0.1')],
            Client("2001:db8::1", "https"),
            id="quoted",
        ),
        pytest.param(
            [(FORWARDED, 'for="1.1.1.1, for=192.0.2.7;proto=http, for=10.2.3.4')],
            Client("192.0.2.7", "http"),
            id="the-callers-quote-is-open",
        ),
        pytest.param([(FORWARDED, "for=_hidden")], Client("10.0.0.1"), id="obfuscated"),
        pytest.param([(FORWARDED, "proto=https")], Client("10.0.0.1"), id="nobody"),
        pytest.param([(FOR, "192.0.2.7")], Client("10.0.0.1"), id="the-other-header"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(
    lines: list[tuple[str, str]], expected: Client
) -> None:
    assert client(*lines, header="forwarded") == expected


@pytest.mark.parametrize(
    ("told", "scheme"), [("https", "https"), ("http, https", "https"), ("gopher", ""), ("", "")]
)
def test_the_scheme_is_what_the_last_proxy_said(told: str, scheme: str) -> None:
    assert client((FOR, "192.0.2.7"), (PROTO, told)).scheme == scheme


@pytest.mark.parametrize(
    ("address", "is_trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("::1", True),
        ("11.0.0.1", False),
        ("", False),
    ],
)
def test_a_proxy_is_trusted_by_its_address(address: str, is_trusted: bool) -> None:
    assert Proxies(TRUSTED).trusts(address) is is_trusted
    assert not Proxies(()).trusts(address)


@pytest.mark.parametrize("given", ["10.0.0.1/8", "proxy.local", "*"])
def test_what_is_no_network_is_told(given: str) -> None:
    with pytest.raises(SettingsError, match="write 10"):
        load_settings(trusted_proxies=given)


@pytest.mark.parametrize(
    ("trusted", "logged"), [("127.0.0.1", "192.0.2.7"), ("", "127.0.0.1")], ids=["trusted", "not"]
)
async def test_the_log_names_the_client_as_far_as_the_proxy_is_trusted(
    trusted: str, logged: str
) -> None:
    async with (
        serving(FakeEngine(), Settings(trusted_proxies=trusted)) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        with capture_logs() as lines:
            await http.get("/health/live", headers={FOR: "192.0.2.7"})

    assert [line["client"] for line in lines if line["event"] == "request"] == [logged]


async def test_behind_a_proxy_each_client_has_its_own_bound_while_it_asks() -> None:
    settings = Settings(trusted_proxies="127.0.0.1", max_connections_per_address=1)
    async with serving(FakeEngine(), settings) as url:
        idle = [await asyncio.open_connection("127.0.0.1", port_of(url)) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(asking("192.0.2.7", begins=True))
        await reader.readuntil(b"100 Continue\r\n\r\n")
        refused = await said_to(url, asking("192.0.2.7"))
        other = await said_to(url, asking("192.0.2.8"))
        writer.write(b"{}")
        await reader.readuntil(b"400 Bad Request\r\n")
        after = await said_to(url, asking("192.0.2.7"))
        for _, each in [*idle, (reader, writer)]:
            each.close()

    assert refused.status == 503
    assert refused.error["code"] == "too_many_connections"
    assert (other.status, after.status) == (200, 200)


def asking(address: str, *, begins: bool = False) -> bytes:
    """Return a request of an address, as its proxy passes it on; one that only `begins` waits."""
    whole = b"GET /health/live HTTP/1.1\r\nConnection: close\r\n"
    begun = (
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\nExpect: 100-continue\r\n"
    )
    told = f"Host: localhost\r\nX-Forwarded-For: {address}\r\n\r\n"
    return (begun if begins else whole) + told.encode()
