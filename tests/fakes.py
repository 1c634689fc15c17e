"""Scripted stand-ins for the rings below the sockets: an engine that plays items, a tiny model."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from gateway.blueprints import Blueprint, load_blueprint
from gateway.engine import Feature
from gateway.errors import GatewayError
from gateway.generation import Delta, Finished, FinishReason, Generation, Item
from gateway.models import Model
from gateway.settings import ModelSettings, Settings

IM_START, IM_END = 256, 257
CHATML = (
    "{% if reasoning_effort %}[{{ reasoning_effort }}]{% endif %}"
    "{% if mood %}[{{ mood }}]{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass
class FakeEngine:
    """Plays `script`, an error among the items being raised; records what it was asked."""

    script: Sequence[Item | GatewayError] = ()
    features: frozenset[Feature] = frozenset(Feature)
    max_model_len: int = 1000
    version: str = "scripted"
    hangs: bool = False
    requests: list[Generation] = field(default_factory=list)
    closed: int = 0

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        self.requests.append(generation)
        try:
            for item in self.script:
                if isinstance(item, GatewayError):
                    raise item
                await asyncio.sleep(0)
                yield item
            if self.hangs:
                await asyncio.Event().wait()
        finally:
            self.closed += 1

    async def check_ready(self) -> None:
        """A script is always ready."""

    async def close(self) -> None:
        """There is nothing to let go of."""


def text(content: str, index: int = 0) -> Delta:
    """Return a delta of the tiny tokenizer, whose ids are bytes."""
    return Delta(index, list(content.encode()))


def stop(num_sequences: int = 1, cached_tokens: int = 0) -> Finished:
    """Return the end of a generation in which every sequence met its end token."""
    return Finished((FinishReason.STOP,) * num_sequences, cached_tokens)


def length() -> Finished:
    """Return the end of a generation that was cut at its limit."""
    return Finished((FinishReason.LENGTH,))


@cache
def tiny_tokenizer() -> Path:
    """Return a folder with a tokenizer of 256 bytes and two control tokens, in ChatML."""
    folder = Path(mkdtemp(prefix="tiny-tokenizer-"))
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    alphabet |= {chr(256 + i): byte for i, byte in enumerate(hidden)}
    tokenizer = tokenizers.Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"eos_token": "<|im_end|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def tiny_model(engine: FakeEngine, id: str = "tiny") -> Model:
    """Return a model of the tiny tokenizer in front of a scripted engine."""
    return _tiny_blueprint(id).model(engine)


@cache
def _tiny_blueprint(id: str) -> Blueprint:
    settings = ModelSettings(id=id, tokenizer=tiny_tokenizer(), aliases=(f"{id}-alias",))
    return load_blueprint(settings, Settings())
