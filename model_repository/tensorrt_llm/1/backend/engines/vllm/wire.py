"""What the model's process and the engine's say to each other: msgpack in frames.

The two may run different Pythons, so that nothing is pickled. A frame is a length, UINT32 in
network order, and a list of messages: all that one side has to say at a time.
"""

import struct
from collections.abc import Sequence
from typing import TypeVar

import msgspec

_LENGTH = struct.Struct("!I")
MAX_FRAME_BYTES = 64 << 20
T = TypeVar("T")
Tops = list[tuple[int, float]]


class Start(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Begin a sequence, called `key` from now on. Greedy where `temperature` is 0.

    `end_ids` end it, and are part of what it gains. `num_log_probs` is how many are wanted of
    each token beside its own, -1 for none at all, and so of the prompt's. `bias` is added to the
    logits of tokens; the adapter is the one with this number, 0 for none, out of its folder.
    """

    key: int
    prompt: tuple[int, ...]
    max_tokens: int
    min_tokens: int
    end_ids: tuple[int, ...]
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int
    num_log_probs: int = -1
    num_prompt_log_probs: int = -1
    guide_kind: str = ""
    guide: str = ""
    bad_words: tuple[tuple[int, ...], ...] = ()
    bias: tuple[tuple[int, float], ...] = ()
    lora_id: int = 0
    lora_path: str = ""


class Stop(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Forget a sequence."""

    key: int


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The engine has loaded; tokens of its context, of a block of its KV cache, its vocabulary."""

    max_model_len: int
    tokens_per_block: int
    vocab_size: int


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The engine could not be loaded."""

    reason: str


class Gained(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What a sequence gained in a step: token ids, a natural log each, or why it failed.

    `is_refused` where what was asked for is at fault; `cached_tokens` of its prompt. `tops` are
    the likeliest tokens at each place, and `prompt` has the same of the prompt, but its first.
    """

    key: int
    ids: list[int]
    log_probs: list[float]
    is_finished: bool
    cached_tokens: int
    error: str = ""
    is_refused: bool = False
    tops: list[Tops] = []
    prompt: tuple[list[float], list[Tops]] | None = None


ToEngine = Start | Stop
FromEngine = Gained | Ready | Failed

to_engine = msgspec.msgpack.Decoder(list[ToEngine])
from_engine = msgspec.msgpack.Decoder(list[FromEngine])
_encoder = msgspec.msgpack.Encoder()


def frame(messages: Sequence[ToEngine] | Sequence[FromEngine]) -> bytes:
    """The frame that holds the messages."""
    content = _encoder.encode(messages)
    return _LENGTH.pack(len(content)) + content


class Frames:
    """Bytes as they arrive into the messages of whole frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes, decoder: "msgspec.msgpack.Decoder[list[T]]") -> list[T]:
        """The messages of the frames that are whole now. Raises ValueError for any else."""
        self._held += data
        messages: list[T] = []
        start = 0
        while len(self._held) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held, start)
            if length > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes")
            end = start + _LENGTH.size + length
            if len(self._held) < end:
                break
            messages += decoder.decode(memoryview(self._held)[start + _LENGTH.size : end])
            start = end
        del self._held[:start]
        return messages
