"""The models file read again: what it says takes effect, or nothing does."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from gateway.blueprints import Blueprint, load_blueprint
from gateway.keepers import Changes, Keepers, has_moved_only
from gateway.settings import ModelSettings, Settings, SettingsError, load_models_file

log = structlog.get_logger(__name__)


class ModelsSource:
    """Where the models of a gateway are written; without a file they were named on the way in."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._stamp = self._look()

    @property
    def has_changed(self) -> bool:
        """Whether the file is another than when it was last read."""
        return self._look() != self._stamp

    def read(self) -> Sequence[ModelSettings]:
        """Return the models that the file names now. Raises SettingsError."""
        if self.path is None:
            raise SettingsError("there is no models file to read again: serve with --models FILE")
        stamp = self._look()
        models = load_models_file(self.path).models
        self._stamp = stamp
        return models

    def _look(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat() if self.path else None
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size) if status else None


class Reload:
    """Brings models to what their source says."""

    def __init__(self, source: ModelsSource, settings: Settings, keepers: Keepers) -> None:
        self._source = source
        self._settings = settings
        self._keepers = keepers
        self._lock = asyncio.Lock()

    async def run(self) -> Changes:
        """Read the source, and return what that changed. Raises SettingsError; nothing changed."""
        async with self._lock:
            try:
                blueprints = await asyncio.to_thread(self._load)
            except SettingsError as error:
                log.error("models_not_reloaded", problem=str(error))
                raise
            changes = self._keepers.change(blueprints)
        log.info(
            "models_reloaded",
            added=changes.added,
            changed=changes.changed,
            removed=changes.removed,
        )
        return changes

    def _load(self) -> list[Blueprint]:
        return [self._blueprint(settings) for settings in self._source.read()]

    def _blueprint(self, settings: ModelSettings) -> Blueprint:
        """Return the blueprint for settings; nothing is loaded again for what did not change."""
        kept = self._keepers.blueprint(settings.id)
        if kept and kept.settings == settings:
            return kept
        if kept:
            moved = replace(kept, settings=settings)
            if has_moved_only(kept, moved):
                return moved
        return load_blueprint(settings, self._settings)


@contextlib.contextmanager
def rereading(reload: Reload) -> Iterator[None]:
    """Read the models again whenever SIGHUP comes while the block lasts."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hurry, reload)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # one that is late is no reason to die


def hurry(reload: Reload) -> None:
    """Read the models again, in the background; what comes of it is in the log."""
    task = asyncio.ensure_future(_run(reload))
    _UNDER_WAY.add(task)
    task.add_done_callback(_UNDER_WAY.discard)


_UNDER_WAY: set[asyncio.Task[None]] = set()


async def _run(reload: Reload) -> None:
    with contextlib.suppress(SettingsError):
        await reload.run()
