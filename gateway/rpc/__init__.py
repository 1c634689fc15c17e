"""The gRPC face: protos/ in, the same models as HTTP behind. Knows no HTTP."""
