"""What must come before the server is imported."""

import gc
from collections.abc import Sequence

from gateway.settings import ModelSettings, Settings


def launch(settings: Settings, model_settings: Sequence[ModelSettings]) -> None:
    """Import the server and serve these models until a signal says stop. Raises SettingsError."""
    gc.disable()  # what is made at start stays; the server collects, once, before it serves
    from gateway.serve import run

    run(settings, model_settings)
