"""gRPC over HTTP/2 on asyncio: frames by hand, HPACK by a library. Knows no Triton, no service."""
