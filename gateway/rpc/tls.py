"""TLS for the gRPC port: certificates out of the settings, for either server."""

import ssl
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from gateway.settings import Settings, SettingsError


class Certificates(NamedTuple):
    """Paths of PEM files that can be read; with `client_ca` callers need a certificate too."""

    chain: Path
    key: Path
    client_ca: Path | None


def certificates(settings: Settings) -> Certificates | None:
    """Return what TLS needs, None without it. Raises SettingsError."""
    chain, key = settings.grpc_tls_cert, settings.grpc_tls_key
    if chain is None and key is None and settings.grpc_tls_client_ca is None:
        return None
    if chain is None or key is None:
        raise SettingsError("GATEWAY_GRPC_TLS_CERT and GATEWAY_GRPC_TLS_KEY go together")
    return Certificates(chain, key, settings.grpc_tls_client_ca)


def ssl_context(files: Certificates | None) -> ssl.SSLContext | None:
    """Return how our own server does TLS, None without it. Raises SettingsError."""
    if files is None:
        return None
    for path in filter(None, files):
        _read(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(files.chain, files.key)
        if files.client_ca:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as error:
        raise SettingsError(f"the certificates of gRPC's TLS cannot be used: {error}") from error
    return context


def grpc_credentials(files: Certificates | None) -> Any:
    """Return how grpc.aio does TLS, None without it. Raises SettingsError."""
    if files is None:
        return None
    client_ca = files.client_ca and _read(files.client_ca)
    return grpc.ssl_server_credentials(
        [(_read(files.key), _read(files.chain))],
        root_certificates=client_ca,
        require_client_auth=client_ca is not None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
