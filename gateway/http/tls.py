"""TLS for the HTTP port."""

import ssl

import uvicorn

from gateway.settings import Settings, SettingsError


def use_tls(config: uvicorn.Config, settings: Settings) -> None:
    """Have a server speak TLS, where a certificate is set.

    Raises SettingsError for one that cannot be used.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise SettingsError("GATEWAY_TLS_CERT and GATEWAY_TLS_KEY go together")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"the certificate of HTTP's TLS cannot be used: {error}") from error
    config.ssl_certfile, config.ssl_keyfile = cert, key
