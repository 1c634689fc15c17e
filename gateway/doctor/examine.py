"""The whole examination, in the order in which things are to be mended."""

import asyncio
import os
from pathlib import Path

from gateway.doctor.certificates import examine_grpc
from gateway.doctor.finding import Finding, odd, wrong
from gateway.doctor.machine import examine_environment, examine_machine, examine_ports
from gateway.doctor.models import examine_models
from gateway.doctor.stores import examine_stores
from gateway.settings import (
    ModelSettings,
    Settings,
    SettingsError,
    TritonSettings,
    load_models_file,
)

USUAL = Path("repository/gateway.yaml")
"""Where `gateway up` leaves its models file."""


def examine(
    settings: Settings, models_file: Path | None, triton: str | None = None
) -> list[Finding]:
    """Return all that is found; `triton` is looked for there instead of where the file says."""
    findings = [
        *examine_machine(settings),
        *examine_environment(os.environ),
        *examine_ports(settings),
        *examine_grpc(settings),
        *asyncio.run(_stores(settings)),
    ]
    if models_file is None and not USUAL.exists():
        advice = "give --models FILE; gateway init writes one, gateway up builds one"
        return [*findings, odd("models file", "there is none to look at", advice)]
    try:
        models = load_models_file(models_file or USUAL).models
    except SettingsError as error:
        return [*findings, wrong("models file", str(error), "correct it there")]
    return [*findings, *asyncio.run(_all(models, settings, triton))]


async def _stores(settings: Settings) -> list[Finding]:
    return [finding async for finding in examine_stores(settings)]


async def _all(
    models: tuple[ModelSettings, ...], settings: Settings, triton: str | None
) -> list[Finding]:
    placed = [_at(model, triton) for model in models]
    return [finding async for finding in examine_models(placed, settings)]


def _at(model: ModelSettings, triton: str | None) -> ModelSettings:
    if triton is None:
        return model
    elsewhere = TritonSettings(address=triton, model=model.triton.model, tls=model.triton.tls)
    return model.model_copy(update={"triton": elsewhere})
