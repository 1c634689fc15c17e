"""What a connection asks of the kernel, and what it is called."""

import contextlib
import socket
from typing import Any

# Ends a connection whose peer's host is gone: to Triton no HTTP/2 PING does, for it counts those
# without data as abuse. Seconds, and milliseconds for the last.
_OPTIONS = (("TCP_KEEPIDLE", 20), ("TCP_KEEPINTVL", 5), ("TCP_USER_TIMEOUT", 30_000))


def watch(sock: socket.socket | None) -> None:
    """Let the kernel look after a peer that says nothing; what a listener accepts inherits it."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        with contextlib.suppress(AttributeError):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def peer_name(address: Any) -> str:
    """Return a socket's address as gRPC writes it."""
    if not isinstance(address, tuple):
        return f"unix:{address or ''}"
    host, port = address[:2]
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
