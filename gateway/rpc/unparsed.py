"""Methods that get their requests as bytes, so that they look at them before they parse them."""

from collections.abc import Mapping, Sequence
from typing import Any


class Unparsed:
    """Stands before a server where generated code adds a service to it."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Add methods without what would parse their requests."""
        self._server.add_generic_rpc_handlers([_Unparsed(handler) for handler in handlers])

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Do nothing: generated code adds the same methods as generic handlers."""


class _Unparsed:
    """A `grpc.GenericRpcHandler`; a handler without a deserializer gets bytes."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, details: Any) -> Any:
        found = self._handler.service(details)
        return found and found._replace(request_deserializer=None)
