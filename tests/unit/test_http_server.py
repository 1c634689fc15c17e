"""The HTTP port itself: TLS, and how many may come from one address."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from gateway.http.crowd import EXTRA_CONNECTIONS, Crowd
from gateway.http.server import http_config
from gateway.http.tls import use_tls
from gateway.openai.errors import error_response
from gateway.settings import Settings, SettingsError
from tests.certificates import sign
from tests.fakes import FakeEngine
from tests.serving import port_of, said_to, serving

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sign(tmp_path_factory.mktemp("certificates"))


async def test_with_a_certificate_the_port_speaks_tls(certificates: Path) -> None:
    settings = Settings(tls_cert=certificates / "server.crt", tls_key=certificates / "server.key")
    trust = ssl.create_default_context(cafile=certificates / "ca.crt")
    async with serving(FakeEngine(), settings) as url, httpx.AsyncClient(verify=trust) as http:
        response = await http.get(f"https://127.0.0.1:{port_of(url)}/health/live")

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("cert", "key", "told"),
    [
        pytest.param("server.crt", None, "go together", id="no-key"),
        pytest.param("server.crt", "ca.key", "cannot be used", id="another-key"),
        pytest.param("none.crt", "server.key", "cannot be used", id="missing"),
    ],
)
async def test_a_certificate_that_cannot_be_used_is_told(
    cert: str, key: str | None, told: str, certificates: Path
) -> None:
    settings = Settings(tls_cert=certificates / cert, tls_key=key and certificates / key)
    config = http_config(lambda *_: None, settings, error_response)  # type: ignore[arg-type]

    with pytest.raises(SettingsError, match=told):
        use_tls(config, settings)


async def test_more_than_may_come_from_one_address_are_told_503() -> None:
    async with serving(FakeEngine(), Settings(max_connections_per_address=2)) as url:
        held = [await asyncio.open_connection("127.0.0.1", port_of(url)) for _ in range(2)]
        refused = await said_to(url, LIVE)
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        while (after := await said_to(url, LIVE)).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert refused.status == 503
    assert refused.error["code"] == "too_many_connections"
    assert after.status == 200


def test_addresses_are_counted_apart_and_forgotten() -> None:
    crowd = Crowd(100, limit_per_address=1)
    for address in ("a", "a", "b"):
        crowd.enter(address)
    many = [crowd.has_many_from(address) for address in ("a", "b", "c")]
    far_too_many = crowd.has_many_from("a", EXTRA_CONNECTIONS)
    for address in ("a", "a", "b"):
        crowd.leave(address)

    assert many == [True, False, False]
    assert not far_too_many
    assert not crowd._by_address
