"""The keepers of all models, which come, go and change while the gateway serves."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.blueprints import Blueprint
from gateway.keeper import Keeper
from gateway.models import Models
from gateway.settings import TritonSettings

PLACES = ("address", "addresses", "dns", "addresses_file")
"""What may differ of a model whose replicas are elsewhere and which is the same otherwise."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The ids of models that came, changed and went."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Keepers:
    """Keeps models in service, and lets them be changed without a stream being lost."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._kept: dict[str, Keeper] = {}
        self._tasks: dict[Keeper, asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def all(self) -> Sequence[Keeper]:
        """Those of the models as they are now."""
        return tuple(self._kept.values())

    def take(self, blueprints: Iterable[Blueprint]) -> None:
        """Take models in that nobody has looked at yet."""
        for blueprint in blueprints:
            self._kept[blueprint.settings.id] = Keeper(self._models, blueprint)

    async def start(self, blueprints: Iterable[Blueprint]) -> None:
        """Take models in, and put those into service whose Tritons answer.

        Raises ContractMismatch for a model all of whose Tritons that answer cannot be used.
        """
        self.take(blueprints)
        try:
            await asyncio.gather(*(keeper.start() for keeper in self.all))
        except BaseException:
            await self.close()
            raise

    async def run(self) -> None:
        """Keep models in service until cancelled; answers that still run then go on."""
        for keeper in self.all:
            self._watch(keeper)
        try:
            await asyncio.Event().wait()
        finally:
            tasks = [*self._tasks.values(), *self._leaving]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Let go of all Tritons; what runs on them is cancelled."""
        await asyncio.gather(*(keeper.close() for keeper in self.all))

    def blueprint(self, id: str) -> Blueprint | None:
        """Return the blueprint of a model as it is now."""
        keeper = self._kept.get(id)
        return keeper.blueprint if keeper else None

    def change(self, blueprints: Sequence[Blueprint]) -> Changes:
        """Keep these models from now on, and return what that changes.

        One whose replicas alone are elsewhere keeps those that stay. Any other that changed
        serves as it was until it can serve as it is to be. What is gone answers what it has.
        """
        wanted = {blueprint.settings.id: blueprint for blueprint in blueprints}
        removed = [id for id in self._kept if id not in wanted]
        changed = [id for id in wanted if self._is_changed(wanted[id])]
        added = [id for id in wanted if id not in self._kept]
        for id, keeper in self._kept.items():
            names = wanted[id].names if id in wanted else ()
            self._models.remove(set(keeper.blueprint.names) - set(names))
        for id in removed:
            self._leave(self._kept.pop(id))
        for id in changed:
            self._change(wanted[id])
        self.take(wanted[id] for id in added)
        for id in added:
            self._watch(self._kept[id])
        return Changes(tuple(added), tuple(changed), tuple(removed))

    def _is_changed(self, blueprint: Blueprint) -> bool:
        kept = self.blueprint(blueprint.settings.id)
        return kept is not None and kept.settings != blueprint.settings

    def _change(self, blueprint: Blueprint) -> None:
        id = blueprint.settings.id
        keeper = self._kept[id]
        if has_moved_only(keeper.blueprint, blueprint):
            keeper.move(blueprint)
            return
        self.take([blueprint])
        self._watch(self._kept[id])
        self._leave(keeper, until=self._kept[id].offered)

    def _watch(self, keeper: Keeper) -> None:
        self._tasks[keeper] = asyncio.ensure_future(keeper.run())

    def _leave(self, keeper: Keeper, until: asyncio.Event | None = None) -> None:
        """Let a keeper go: once its successor serves, if it has one, and all is answered."""

        async def leave() -> None:
            if until:
                await until.wait()
            keeper.give_way()
            await keeper.drained()
            self._tasks.pop(keeper).cancel()
            await keeper.close()

        leaving = asyncio.ensure_future(leave())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


def has_moved_only(before: Blueprint, after: Blueprint) -> bool:
    """Tell whether two blueprints differ in where the replicas are, and in nothing else."""
    nowhere = dict.fromkeys(PLACES)
    settings = [
        one.settings.model_copy(update={"triton": one.settings.triton.model_copy(update=nowhere)})
        for one in (before, after)
    ]
    return settings[0] == settings[1] and not (_by_name(before) or _by_name(after))


def _by_name(blueprint: Blueprint) -> bool:
    """Tell whether certificates are to name a name, which connections then keep."""
    triton: TritonSettings = blueprint.settings.triton
    return bool(triton.dns and triton.tls)


async def keep_models(models: Models, blueprints: Sequence[Blueprint]) -> None:
    """Put models into service as their Tritons answer, and keep them there until cancelled."""
    keepers = Keepers(models)
    keepers.take(blueprints)
    await keepers.run()
