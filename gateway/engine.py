"""The seam between the gateway and whatever generates tokens."""

from collections.abc import AsyncGenerator
from enum import Enum
from typing import Protocol

from gateway.generation import Generation, Item


class Feature(Enum):
    """What an engine may or may not be able to do; the values name what it would need."""

    TOKEN_IDS = "token ids in and out"
    NUM_SEQUENCES = "several sequences for one prompt"
    LOGPROBS = "log probabilities of the chosen tokens"
    PROMPT_LOGPROBS = "log probabilities of the prompt"
    TOP_LOGPROBS = "log probabilities of the likeliest tokens"
    LOGIT_BIAS = "a bias per token of the vocabulary"
    GUIDED_DECODING = "guided decoding"
    REPETITION_PENALTY = "a repetition penalty"
    MIN_TOKENS = "a minimum number of tokens"
    MIN_P = "a minimum probability relative to the likeliest token"
    STOP_TOKEN_IDS = "stop token ids"
    BAD_WORDS = "words that must not appear"
    LORA = "LoRA adapters"


class Generator(Protocol):
    """Something that generates tokens."""

    def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        """Yield deltas as they are produced, then exactly one Finished.

        Closing the iterator cancels the generation on the server.

        Raises EngineUnavailable or Overloaded before the first item, InvalidRequest where the
        engine refuses a parameter, EngineFailure at any point; anything else is a bug.
        """
        ...


class Engine(Generator, Protocol):
    """What a model generates with: one of Triton's models, or a script in a test."""

    @property
    def features(self) -> frozenset[Feature]:
        """What this engine can honour; anything else is refused before it is asked."""
        ...

    @property
    def version(self) -> str:
        """What serves and how it was built, for telling two deployments apart."""
        ...

    @property
    def max_model_len(self) -> int:
        """Tokens of context, prompt and answer together."""
        ...

    async def check_ready(self) -> None:
        """Return when the engine can take work; raise EngineUnavailable with the reason if not."""
        ...

    async def close(self) -> None:
        """Let go of the connection. Generations still running are cancelled."""
        ...
