"""Server reflection: what generic clients ask for the methods, if they have a key."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from gateway.errors import GatewayError
from gateway.origin import new_id
from gateway.reception import Reception
from gateway.rpc.exchange import refuse


class Reflection(reflection.aio.ReflectionServicer):  # type: ignore[misc]
    """Tells the methods of services. A stopping server does not wait for those who look."""

    def __init__(self, services: Sequence[str], reception: Reception) -> None:
        super().__init__(services)
        self._access = reception.access

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterator[Any], unused_context: Any
    ) -> AsyncIterator[Any]:
        try:
            await self._access.admit(dict(unused_context.invocation_metadata()))
        except GatewayError as error:
            await refuse(unused_context, error, ServerReflectionRequest, new_id())
        async for answer in super().ServerReflectionInfo(request_iterator, unused_context):
            yield answer
