"""What an answer is made of, as it grows. Both wires, HTTP and gRPC, are folds over these."""

from enum import Enum

import msgspec

from gateway.generation import PromptLogprobs


class StopCause(Enum):
    """Why a choice ended, in the words of the OpenAI API."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """A sampled token: its text (U+FFFD where bytes are no character yet), bytes, natural log;
    and the likeliest tokens at its place, where those were asked for."""

    token: str
    bytes: bytes
    logprob: float
    tops: "tuple[TokenLogprob, ...]" = ()


class Content(msgspec.Struct, frozen=True, gc=False):
    """Text that choice `index` gained; `logprobs` and `token_ids` only where they were asked for.

    `text` may be empty while bytes or a possible stop string are held back. `prompt` comes once,
    with what came first of all choices.
    """

    index: int
    text: str
    logprobs: list[TokenLogprob] = []
    token_ids: list[int] = []
    prompt: PromptLogprobs | None = None


class ToolCallBegin(msgspec.Struct, frozen=True, gc=False):
    """Choice `index` begins its tool call number `position`."""

    index: int
    position: int
    id: str
    name: str


class ToolCallArguments(msgspec.Struct, frozen=True, gc=False):
    """A piece of the JSON arguments of tool call number `position`."""

    index: int
    position: int
    text: str


class ChoiceEnd(msgspec.Struct, frozen=True, gc=False):
    """Choice `index` is complete."""

    index: int
    cause: StopCause


Event = Content | ToolCallBegin | ToolCallArguments | ChoiceEnd
