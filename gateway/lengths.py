"""How long prompts and answers are, noted request by request, for `build-engine tune` to read."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import orjson

from gateway.engine import Engine, Feature
from gateway.generation import Delta, Generation, Item, TextDelta


class LengthTrace:
    """A file of lengths: a JSON line a request, with no word of what was said."""

    def __init__(self, path: Path) -> None:
        """Raise OSError where the file cannot be written."""
        self._file = path.open("ab", buffering=0)

    def note(self, arrival_s: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Add a request. `arrival_s` is in Unix seconds."""
        line = {
            "arrival_s": round(arrival_s, 3),
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
        }
        self._file.write(orjson.dumps(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TracedEngine:
    """An engine whose requests are noted when they end, however they end."""

    def __init__(self, engine: Engine, trace: LengthTrace) -> None:
        self._engine = engine
        self._trace = trace

    @property
    def features(self) -> frozenset[Feature]:
        return self._engine.features

    @property
    def version(self) -> str:
        return self._engine.version

    @property
    def max_model_len(self) -> int:
        return self._engine.max_model_len

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        arrival_s, completion_tokens = time.time(), 0
        try:
            async with aclosing(self._engine.generate(generation)) as items:
                async for item in items:
                    if isinstance(item, Delta):
                        completion_tokens += len(item.token_ids)
                    elif isinstance(item, TextDelta):
                        completion_tokens += item.num_tokens
                    yield item
        finally:
            prompt_tokens = len(generation.prompt.token_ids)
            self._trace.note(arrival_s, prompt_tokens, completion_tokens)

    async def check_ready(self) -> None:
        await self._engine.check_ready()

    async def close(self) -> None:
        await self._engine.close()
        self._trace.close()
