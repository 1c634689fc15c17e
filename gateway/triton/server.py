"""One model on one Triton server: whether it is ready, and letting go of it."""

import grpc

from gateway.errors import EngineUnavailable
from gateway.triton.channel import Channel


class ServedModel:
    """What all engines behind Triton share."""

    def __init__(self, channel: Channel, name: str, version: str, max_model_len: int) -> None:
        self.version = version
        self.max_model_len = max_model_len
        self.channel = channel
        self._name = name

    async def check_ready(self) -> None:
        """Return when the model takes requests; raise EngineUnavailable with the reason if not."""
        try:
            is_ready = await self.channel.is_model_ready(self._name)
        except grpc.RpcError as error:
            detail = f"{self.channel.address}: {error.details()}"
            raise EngineUnavailable("Triton cannot be reached.", detail=detail) from error
        if not is_ready:
            raise EngineUnavailable(f"Triton's model {self._name!r} is not ready.")

    async def close(self) -> None:
        """Close the connection."""
        await self.channel.close()
