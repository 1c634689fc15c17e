"""TLS to Triton, alike for grpc.aio and for our own HTTP/2 client."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust, the system's authorities where `ca` is None, and who we are, if asked.

    All are PEM files: certificates in `ca` and `cert`, a private key in `key`.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Raise ValueError for files that cannot be used."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("triton.tls: 'cert' and 'key' go together")
        try:
            self.context()
        except OSError as error:
            named = ", ".join(str(file) for file in (self.ca, self.cert, self.key) if file)
            raise ValueError(f"triton.tls cannot use {named}: {error}") from error

    def context(self) -> ssl.SSLContext:
        """Return the same for `ssl`, with HTTP/2 as the protocol."""
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(["h2"])
        if self.cert and self.key:
            context.load_cert_chain(self.cert, self.key)
        return context

    def credentials(self) -> Any:
        """Return the same for gRPC."""
        files = (self.ca, self.key, self.cert)
        return grpc.ssl_channel_credentials(*(file and file.read_bytes() for file in files))
