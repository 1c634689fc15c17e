"""A gRPC client for one streaming method, on asyncio: HTTP/2 by hand, HPACK by a library."""
