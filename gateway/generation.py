"""What a generation is: asked for, produced, ended. Knows neither OpenAI nor Triton."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import msgspec


class FinishReason(Enum):
    """Why a sequence ended."""

    STOP = "stop"
    LENGTH = "length"


class GuideKind(Enum):
    """The guides a TensorRT-LLM engine knows, by the names its tensors take."""

    JSON = "json"
    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    EBNF_GRAMMAR = "ebnf_grammar"


@dataclass(frozen=True, slots=True)
class Guide:
    """A grammar that every sequence of the generation must follow; `source` asked for it."""

    kind: GuideKind
    text: str = ""
    source: str = field(default="response_format", compare=False)


class Prompt(msgspec.Struct, frozen=True):
    """What the model reads: token ids, and the same as text for engines that only take text."""

    token_ids: tuple[int, ...]
    text: str


class Sampling(msgspec.Struct, frozen=True):
    """How the next token is chosen. Temperature 0 is greedy; top_k 0 keeps the whole vocabulary."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always the one chosen."""
        return self.temperature == 0.0 or self.top_k == 1


@dataclass(frozen=True, slots=True)
class Lora:
    """A LoRA adapter the engine holds in its cache, or can fill it from `path`."""

    task_id: int
    path: str


class Generation(msgspec.Struct, frozen=True):
    """One request to an engine, with every default decided.

    `end_ids` end a sequence and are not part of the answer. `num_top` counts the likeliest tokens
    to be told of at each place. `streaming` asks for deltas as they are produced; otherwise each
    sequence arrives as one delta. `num_prompt` counts the likeliest to be told of beside the
    prompt's own tokens, -1 for not even these. `session` is what the caller calls the conversation
    or the user, if anything.
    """

    prompt: Prompt
    max_tokens: int
    min_tokens: int = 0
    num_sequences: int = 1
    sampling: Sampling = Sampling()
    end_ids: tuple[int, ...] = ()
    bad_words: tuple[tuple[int, ...], ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    guide: Guide | None = None
    logprobs: bool = False
    num_top: int = 0
    num_prompt: int = -1
    streaming: bool = True
    lora: Lora | None = None
    session: str = ""


Tops = Sequence[tuple[int, float]]
"""The likeliest tokens at a place and a natural log each, the likeliest first."""


class PromptLogprobs(msgspec.Struct, frozen=True, gc=False):
    """A natural log for each token of the prompt but the first, and the likeliest there."""

    logprobs: list[float]
    tops: Sequence[Tops] = ()


class Delta(msgspec.Struct, frozen=True, gc=False):
    """Token ids that sequence `index` gained; with logprobs asked for, one natural log each, and
    with `num_top` the likeliest at each place. `prompt` comes once, with what came first."""

    index: int
    token_ids: list[int]
    logprobs: list[float] = []
    tops: Sequence[Tops] = ()
    prompt: PromptLogprobs | None = None


class TextDelta(msgspec.Struct, frozen=True, gc=False):
    """Text that sequence `index` gained, from an engine that does not show its tokens."""

    index: int
    text: str
    num_tokens: int


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The end: a reason for each sequence, and how many prompt tokens the KV cache already held."""

    reasons: tuple[FinishReason, ...]
    cached_tokens: int = 0


Item = Delta | TextDelta | Finished
"""What an engine yields."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
