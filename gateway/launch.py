"""What must come before the server is imported."""

import gc
from collections.abc import Sequence

from gateway.settings import ModelSettings, Settings
from gateway.telemetry.folder import metrics_folder


def launch(settings: Settings, model_settings: Sequence[ModelSettings]) -> None:
    """Import the server and serve these models until a signal says stop.

    Raises SettingsError and WorkersFailed, as `serve.run` does.
    """
    gc.disable()  # hardly anything made at start is garbage; the server enables it
    with metrics_folder(settings.workers):
        from gateway.serve import run

        run(settings, model_settings)
