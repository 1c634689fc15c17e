"""What must come before the server is imported."""

import gc
import os
from collections.abc import Sequence
from pathlib import Path

from gateway.settings import ModelSettings, Settings
from gateway.telemetry.folder import metrics_folder


def launch(
    settings: Settings, model_settings: Sequence[ModelSettings], models_file: Path | None = None
) -> None:
    """Import the server and serve these models, of a file if they are, until a signal says stop.

    Raises SettingsError and WorkersFailed, as `serve.run` does.
    """
    if settings.transport == "grpc":
        # Without its new event engine, gRPC's core polls where completions are awaited: a hop
        # between threads less for every token, a fifth of its cost. Read as grpc is imported.
        os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client")
    gc.disable()  # hardly anything made at start is garbage; the server enables it
    with metrics_folder(settings.workers):
        from gateway.serve import run

        run(settings, model_settings, models_file)
