"""The gRPC port over TLS, and with certificates on both sides."""

import asyncio
import ssl
from pathlib import Path

import grpc
import pytest

from gateway.client import AsyncClient, CallFailed
from gateway.models import Models
from gateway.rpc.server import RpcServer
from gateway.rpc.tls import certificates as tls_files
from gateway.rpc.tls import ssl_context
from gateway.settings import Settings, SettingsError
from tests.certificates import sign
from tests.fakes import FakeEngine, tiny_model
from tests.rpc import server

pytestmark = pytest.mark.usefixtures("grpc_server")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sign(tmp_path_factory.mktemp("certificates"))


def settings(certificates: Path, *, mutual: bool) -> Settings:
    return Settings(
        grpc_tls_cert=certificates / "server.crt",
        grpc_tls_key=certificates / "server.key",
        grpc_tls_client_ca=certificates / "ca.crt" if mutual else None,
    )


def credentials(certificates: Path, *, with_own: bool) -> grpc.ChannelCredentials:
    root = (certificates / "ca.crt").read_bytes()
    if not with_own:
        return grpc.ssl_channel_credentials(root)
    own = [(certificates / f"client.{kind}").read_bytes() for kind in ("key", "crt")]
    return grpc.ssl_channel_credentials(root, *own)


@pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mTLS"])
async def test_calls_are_answered_over_tls(certificates: Path, mutual: bool) -> None:
    models = Models([tiny_model(FakeEngine())])
    async with (
        server(models, settings(certificates, mutual=mutual)) as running,
        AsyncClient(running.address, credentials(certificates, with_own=mutual)) as rpc,
    ):
        assert [model.id for model in await rpc.models(timeout_s=5)] == ["tiny"]


async def test_our_server_agrees_on_http2_and_on_no_old_tls(certificates: Path) -> None:
    wanted = settings(certificates, mutual=False)
    caller = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    caller.set_alpn_protocols(["http/1.1", "h2"])
    async with server(Models(), wanted.model_copy(update={"grpc_server": "http2"})) as running:
        host, port = running.address.split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=caller)
        agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        writer.close()

    context = ssl_context(tls_files(wanted))
    assert agreed == "h2"
    assert context and context.minimum_version is ssl.TLSVersion.TLSv1_2


async def test_a_caller_without_a_certificate_is_not_let_in(certificates: Path) -> None:
    async with (
        server(Models(), settings(certificates, mutual=True)) as running,
        AsyncClient(running.address, credentials(certificates, with_own=False)) as rpc,
    ):
        with pytest.raises(CallFailed) as failed:
            await rpc.models(timeout_s=1)

    assert failed.value.code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    )


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("grpc_tls_cert", "GATEWAY_GRPC_TLS_KEY"),
        ("grpc_tls_key", "GATEWAY_GRPC_TLS_CERT"),
        ("grpc_tls_client_ca", "GATEWAY_GRPC_TLS_CERT"),
    ],
    ids=["no key", "no certificate", "only a client's"],
)
def test_half_of_tls_is_a_setting_that_is_wrong(
    certificates: Path, name: str, missing: str
) -> None:
    half = Settings.model_validate({name: certificates / "ca.crt"})

    with pytest.raises(SettingsError, match=missing):
        RpcServer(half, Models(), 1)


def test_a_file_that_is_no_certificate_is_a_setting_that_is_wrong(certificates: Path) -> None:
    wrong = Settings(
        grpc_server="http2",
        grpc_tls_cert=certificates / "names",
        grpc_tls_key=certificates / "server.key",
    )

    with pytest.raises(SettingsError, match="cannot be used"):
        RpcServer(wrong, Models(), 1)


def test_a_file_that_is_not_there_is_named(certificates: Path) -> None:
    wrong = Settings(grpc_tls_cert=certificates / "ca.crt", grpc_tls_key=certificates / "no.key")

    with pytest.raises(SettingsError, match=r"no\.key"):
        RpcServer(wrong, Models(), 1)
