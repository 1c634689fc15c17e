"""One model on one Triton server: whether it is ready, and letting go of it."""

from gateway.errors import EngineUnavailable
from gateway.triton.replica import RETRY_AFTER_S, Readiness, Replica


class ServedModel:
    """What all engines behind Triton share."""

    def __init__(self, replica: Replica, version: str, max_model_len: int) -> None:
        self.version = version
        self.max_model_len = max_model_len
        self.replica = replica

    async def check_ready(self) -> None:
        """Return when the model takes requests; raise EngineUnavailable with the reason if not."""
        self.replica.check()
        readiness = await self.replica.readiness()
        if readiness is not Readiness.READY:
            detail = self.replica.detail
            raise EngineUnavailable(readiness.value, retry_after_s=RETRY_AFTER_S, detail=detail)

    async def close(self) -> None:
        """Close the connection."""
        await self.replica.channel.close()
