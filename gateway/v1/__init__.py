"""Generated from protos/gateway/v1 by `make protos`: the messages and services, nothing by hand."""
