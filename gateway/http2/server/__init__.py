"""The server's end of gRPC over HTTP/2, with the manners of `grpc.aio.Server`. Knows no service."""
