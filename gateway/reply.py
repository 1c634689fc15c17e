"""An answer under way: an engine's items turned into events, and what they came to."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.engine import Generator
from gateway.generation import Finished, Generation, Usage
from gateway.output.answer import Answer
from gateway.output.events import Event


class Reply:
    """One generation's answer. `usage` is right at every step and final after the last."""

    def __init__(self, engine: Generator, generation: Generation, answer: Answer) -> None:
        self.generation = generation
        self._engine = engine
        self._answer = answer
        self._cached_tokens = 0

    @property
    def usage(self) -> Usage:
        prompt_tokens = len(self.generation.prompt.token_ids)
        return Usage(prompt_tokens, self._answer.completion_tokens, self._cached_tokens)

    async def steps(self) -> AsyncGenerator[list[Event], None]:
        """Yield events as the answer grows; the last step ends every choice.

        Closing the iterator cancels the generation, and so does meeting a stop string in every
        choice. Raises what the engine raises.
        """
        answer = self._answer
        async with aclosing(self._engine.generate(self.generation)) as items:
            async for item in items:
                if isinstance(item, Finished):
                    self._cached_tokens = item.cached_tokens
                    yield answer.finish(item)
                    return
                events = answer.push(item)
                if answer.done:
                    yield events + answer.cut()
                    return
                if events:
                    yield events
