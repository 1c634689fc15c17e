"""One model behind Triton: what it can do, whether it is ready, and letting go of it."""

import asyncio

from gateway.engine import Feature
from gateway.generation import Generation
from gateway.origin import origin
from gateway.triton.prefixes import Mark
from gateway.triton.replica import Readiness, unavailable
from gateway.triton.replicas import Replicas
from gateway.triton.work import Work


class ServedModel:
    """What all engines behind Triton share.

    Features and context are what all replicas had in common when this was made.
    """

    def __init__(self, replicas: Replicas) -> None:
        self.replicas = replicas
        self.version = replicas.version
        self.features: frozenset[Feature] = replicas.features
        self.max_model_len = replicas.max_model_len

    async def check_ready(self) -> None:
        """Return when a replica takes requests; raise EngineUnavailable with the reason if not.

        One that is alone is asked; of several it is known.
        """
        if self.replicas.reason:
            raise unavailable(self.replicas.reason)
        if self.replicas.is_pool:
            return
        [replica] = self.replicas.members
        readiness = await replica.readiness()
        if readiness is not Readiness.READY:
            raise unavailable(readiness.value, replica.detail)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(one.channel.close() for one in self.replicas.members))


def work_of(generation: Generation, marks: tuple[Mark, ...] = ()) -> Work:
    """Return the work that a generation is."""
    return Work(
        prompt_tokens=len(generation.prompt.token_ids),
        max_tokens=generation.max_tokens * generation.num_sequences,
        marks=marks,
        session=origin.get().session or generation.session,
    )
