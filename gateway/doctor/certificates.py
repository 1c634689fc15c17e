"""Certificates: that a key is theirs, and that their time has come and is not over."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.doctor.finding import Finding, fine, odd, wrong
from gateway.settings import Settings, TlsSettings

SOON_S = 14 * 86_400.0


def examine_grpc(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of the certificates of our own gRPC port."""
    chain, key, ca = (
        settings.grpc_tls_cert,
        settings.grpc_tls_key,
        settings.grpc_tls_client_ca,
    )
    if chain and key:
        yield own_certificate("gRPC's TLS", chain, key)
    elif chain or key:
        missing = "GATEWAY_GRPC_TLS_KEY" if chain else "GATEWAY_GRPC_TLS_CERT"
        yield wrong("gRPC's TLS", f"{missing} is missing", f"export {missing}=FILE.pem")
    if ca:
        yield from authorities("gRPC's TLS", ca)


def examine_triton(place: str, tls: TlsSettings) -> Iterator[Finding]:
    """Yield what is found of the certificates with which a Triton is spoken to."""
    if tls.cert and tls.key:
        yield own_certificate(place, tls.cert, tls.key)
    if tls.ca:
        yield from authorities(place, tls.ca)


def own_certificate(place: str, chain: Path, key: Path) -> Finding:
    """Try a certificate and its key as a server would, without a network."""
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(chain, key)
        until = _ends(server, chain)
    except (OSError, ValueError) as error:
        reason = getattr(error, "verify_message", None) or str(error)
        return wrong(place, f"{chain}: {reason}", "have it issued anew, or name another file")
    return _judged(place, chain, until)


def authorities(place: str, ca: Path) -> Iterator[Finding]:
    """Yield what is found of the authorities in a file."""
    try:
        found = ssl.create_default_context(cafile=ca).get_ca_certs()
    except OSError as error:
        yield wrong(place, f"{ca}: {error}", "name a file of PEM certificates")
        return
    if not found:
        yield wrong(place, f"{ca} holds no authority", "name the certificate that signs")
    for one in found:
        if ssl.cert_time_to_seconds(str(one["notBefore"])) > time.time():
            yield wrong(place, f"{ca}: certificate is not yet valid", "look at the clock")
        else:
            yield _judged(place, ca, ssl.cert_time_to_seconds(str(one["notAfter"])))


def _judged(place: str, file: Path, until: float) -> Finding:
    day = time.strftime("%Y-%m-%d", time.gmtime(until))
    advice = "have it issued anew"
    if until <= time.time():
        return wrong(place, f"{file}: certificate has expired, on {day}", advice)
    if until <= time.time() + SOON_S:
        return odd(place, f"{file}: certificate expires soon, on {day}", advice)
    return fine(place, f"{file.name} is valid until {day}")


def _ends(server: ssl.SSLContext, chain: Path) -> float:
    """Return when a certificate ends, as a client sees it that trusts it and no other.

    Raises ssl.SSLCertVerificationError for one whose time is over, or has not come.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(chain)
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    is_done = [False, False]
    for _ in range(8):
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
                is_done[number] = True
            except ssl.SSLWantReadError:
                continue
    told = ends[0].getpeercert()
    if not all(is_done) or not told:
        raise ValueError("no handshake comes about with it")
    return ssl.cert_time_to_seconds(str(told["notAfter"]))
