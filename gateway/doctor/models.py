"""Models: their tokenizers and templates, and the Tritons that serve them, asked for one token."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

from gateway.blueprints import Blueprint, load_blueprint
from gateway.doctor.certificates import examine_triton
from gateway.doctor.finding import Finding, fine, wrong
from gateway.errors import EngineUnavailable, InvalidRequest
from gateway.prompt.conversation import Conversation, Message, Role
from gateway.settings import ModelSettings, Settings, SettingsError
from gateway.triton.checkup import Canary
from gateway.triton.contract import ContractMismatch
from gateway.triton.deployment import (
    ServedWith,
    contract_of,
    engine_of,
    read_deployment,
    version_of,
)
from gateway.triton.monitor import ask
from gateway.triton.replica import Readiness, Replica
from gateway.triton.replicas import Replicas

CONNECT_S = 3.0


async def examine_models(
    models: Sequence[ModelSettings], settings: Settings
) -> AsyncIterator[Finding]:
    """Yield what is found of each model."""
    for model in models:
        async for finding in examine_model(model, settings):
            yield finding


async def examine_model(model: ModelSettings, settings: Settings) -> AsyncIterator[Finding]:
    """Yield what is found of one model."""
    place = f"model {model.id}"
    try:
        blueprint = load_blueprint(model, settings)
        yield fine(place, _prompt(blueprint))
    except (SettingsError, InvalidRequest) as error:
        told = str(error).removeprefix(f"model {model.id!r}: ")
        yield wrong(place, told, "correct its `tokenizer` or `template` in the models file")
        return
    for finding in _vocabulary(place, blueprint):
        yield finding
    if model.triton.tls:
        for finding in examine_triton(place, model.triton.tls):
            yield finding
    async for finding in _examine_tritons(place, blueprint):
        yield finding


def _prompt(blueprint: Blueprint) -> str:
    prompt = blueprint.renderer.render(Conversation((Message(Role.USER, "Hello"),)))
    vocabulary = f"{blueprint.tokenizer.vocab_size:,} tokens"
    template = f"template {blueprint.renderer.template.name}"
    return f"{vocabulary}, {template}: a hello takes {len(prompt.token_ids)}"


def _vocabulary(place: str, blueprint: Blueprint) -> Iterator[Finding]:
    """Yield how the tokenizer fits the engine beside it, where there is one to look at."""
    engine = blueprint.settings.tokenizer.parent / "1" / "config.json"
    size = _engine_vocabulary(engine)
    known = blueprint.tokenizer.vocab_size
    if size and size != known:
        yield wrong(
            place,
            f"its tokenizer has {known:,} tokens, but the engine in {engine.parent} {size:,}",
            "name the tokenizer that the engine was built with",
        )


def _engine_vocabulary(file: Path) -> int:
    try:
        return int(json.loads(file.read_text())["pretrained_config"]["vocab_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


async def _examine_tritons(place: str, blueprint: Blueprint) -> AsyncIterator[Finding]:
    async with aclosing(blueprint.discovery().addresses()) as found:
        addresses = await anext(found)
    if not addresses:
        yield wrong(place, "there is no Triton where it says", "correct its `triton`")
    for address in addresses:
        async for finding in _examine_triton(place, blueprint, address):
            yield finding


async def _examine_triton(place: str, blueprint: Blueprint, address: str) -> AsyncIterator[Finding]:
    if problem := await _unreachable(address):
        advice = "start Triton there, or correct its `triton` in the models file"
        yield wrong(place, f"nothing answers at {address}: {problem}", advice)
        return
    channel = blueprint.channel(address)
    try:
        replica = Replica(channel, blueprint.settings.triton.model)
        async for finding in _examine_replica(place, blueprint.served_with, replica):
            yield finding
    finally:
        await channel.close()


async def _examine_replica(
    place: str, served_with: ServedWith, replica: Replica
) -> AsyncIterator[Finding]:
    try:
        deployment = await read_deployment(replica.channel, replica.model)
        contract = contract_of(deployment, served_with)
    except EngineUnavailable as error:
        yield wrong(place, f"{error.message} ({error.detail})", _MODEL_ADVICE)
        return
    except ContractMismatch as error:
        yield wrong(place, str(error), "deploy it as the message says, or name another model")
        return
    where = replica.channel.address
    if await replica.readiness() is not Readiness.READY:
        yield wrong(place, f"{where} has it, but is not ready", "look into Triton's log")
        return
    length = f"{contract.max_model_len:,} tokens of context"
    yield fine(place, f"Triton {deployment.version} at {where}, {length}")
    replicas = Replicas(members=[replica])
    replicas.admit(replica, contract, version_of(deployment, contract))
    outcome = await ask(engine_of(replicas, served_with), served_with)
    if outcome is Canary.ANSWERED:
        yield fine(place, "it has answered with a token")
    else:
        yield wrong(place, f"asked for a token, its engine is {outcome.value}", _TOKEN_ADVICE)


_MODEL_ADVICE = "correct `triton.model`, or load the model in Triton; is it Triton's gRPC port?"
_TOKEN_ADVICE = "look into Triton's log, and start it again"


async def _unreachable(address: str) -> str:
    """Return why no connection can be made, if so."""
    host, _, port = address.rpartition(":")
    try:
        connecting = asyncio.open_connection(host.strip("[]"), int(port))
        _, writer = await asyncio.wait_for(connecting, CONNECT_S)
    except asyncio.TimeoutError:
        return f"no answer within {CONNECT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""
