"""What calls ask of a replica, and the work that it has ahead, in seconds. Pure."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.triton.prefixes import SLACK_TOKENS, Mark

FIRST_PREFILL_PER_S = 10_000.0
FIRST_DECODE_PER_S = 50.0
"""Tokens a second, of prompts and of one stream, that a replica is taken for before it is known."""
KV_BARRIER_S = 0.15
TIE_S = 1e-12
"""What having been chosen later counts, so that of those alike turns are taken."""
FULL = 0.98
SHARE_OF_NEWS = 0.2
ASKED_S = 10.0
"""Over which what is asked for is remembered."""
LEAST_SPAN_S = 0.4
"""Over which tokens are counted to know how fast they come."""
LEAST_TOKENS = 64
"""Of prompts, below which a time to first token tells nothing of prefill."""


class Work(NamedTuple):
    """What a call asks for: tokens to read, the most to write, prefixes by which it is known."""

    prompt_tokens: int
    max_tokens: int
    marks: tuple[Mark, ...] = ()
    session: str = ""

    def less(self, num_tokens: int) -> "Work":
        """Return what is left where so many tokens of the prompt need not be read."""
        return self._replace(prompt_tokens=max(0, self.prompt_tokens - num_tokens))


NO_WORK = Work(0, 0)


@dataclass(slots=True)
class KvCache:
    """A paged KV cache as Triton's metrics tell of it; no blocks where they do not."""

    max_blocks: int = 0
    used_blocks: int = 0
    tokens_per_block: int = 0

    @property
    def capacity_tokens(self) -> int:
        return self.max_blocks * self.tokens_per_block

    @property
    def used(self) -> float:
        """The fraction in use."""
        return self.used_blocks / self.max_blocks if self.max_blocks else 0.0


@dataclass(slots=True, eq=False)
class Load:
    """The work ahead of one replica, as far as it came from here.

    `waiting_prompt_tokens` belong to calls of which nothing has come, `expected_tokens` are those
    that the open calls are expected to generate yet. `ahead_s` is kept up to date: choosing reads
    nothing else.
    """

    life: int = 0
    num_calls: int = 0
    waiting_prompt_tokens: int = 0
    expected_tokens: float = 0.0
    tokens_per_s: float = 0.0
    stream_tokens_per_s: float = FIRST_DECODE_PER_S
    prefill_tokens_per_s: float = FIRST_PREFILL_PER_S
    kv: KvCache = field(default_factory=KvCache)
    width: int = 1
    turn: int = 0
    ahead_s: float = 0.0
    predicted_tokens: int = 0
    told_tokens: int = 0
    trust: float = 1.0
    _asked_tokens: float = 0.0
    _asked_at: float = 0.0

    def add(self, prompt_tokens: int, expected_tokens: float, calls: int = 0) -> None:
        """Take work on, or off where negative."""
        self.num_calls += calls
        self.waiting_prompt_tokens += prompt_tokens
        self.expected_tokens = max(0.0, self.expected_tokens + expected_tokens)
        self.width = max(self.width, self.num_calls)
        self.weigh()

    def ask(self, num_tokens: float, now: float) -> None:
        """Note that a call of so many tokens, prompt and answer, was sent there."""
        self._asked_tokens = self._asked(now) + num_tokens
        self._asked_at = now

    def asked_tokens_per_s(self, now: float) -> float:
        """Return how many tokens a second were asked for lately."""
        return self._asked(now) / ASKED_S

    def _asked(self, now: float) -> float:
        return self._asked_tokens * math.exp((self._asked_at - now) / ASKED_S)

    def take_turn(self, turn: int) -> None:
        """Note that it was chosen; turns are counted over all."""
        self.turn = turn
        self.weigh()

    def weigh(self) -> None:
        """Work out the seconds ahead anew."""
        full = min(self.kv.used, FULL)
        self.ahead_s = self.seconds(self.waiting_prompt_tokens, self.expected_tokens)
        self.ahead_s += KV_BARRIER_S * full / (1 - full) + TIE_S * self.turn

    def seconds(self, prompt_tokens: float, output_tokens: float) -> float:
        """Return how long a replica that is as busy as it ever was takes for so many tokens."""
        decode_per_s = self.stream_tokens_per_s * self.width
        return prompt_tokens / self.prefill_tokens_per_s + output_tokens / decode_per_s

    def note_pace(self, num_tokens: int, num_streams: int, elapsed_s: float) -> None:
        """Note tokens that came of streams that were decoding all the time."""
        if elapsed_s <= 0:
            return
        self.tokens_per_s = num_tokens / elapsed_s
        if num_tokens and num_streams:
            each = self.tokens_per_s / num_streams
            self.stream_tokens_per_s += SHARE_OF_NEWS * (each - self.stream_tokens_per_s)
        self.weigh()

    def note_first_token(self, prompt_tokens: int, seconds: float) -> None:
        """Note how long prompts took of which so many tokens were ahead, the call's own included.

        The time in the engine's queue counts, too: it is what a call meets there.
        """
        if prompt_tokens < LEAST_TOKENS or seconds <= 0:
            return
        news = prompt_tokens / seconds
        self.prefill_tokens_per_s += SHARE_OF_NEWS * (news - self.prefill_tokens_per_s)

    def note_reuse(self, predicted_tokens: int, told_tokens: int) -> None:
        """Note what of a prompt was expected in the KV cache, and what the engine told.

        `trust` is how much of what is expected comes true of late. What is less than blocks can
        tell, such as a short system prompt, tells nothing of it.
        """
        self.predicted_tokens += predicted_tokens
        self.told_tokens += told_tokens
        if predicted_tokens > SLACK_TOKENS:
            news = told_tokens / max(told_tokens, predicted_tokens - SLACK_TOKENS)
            self.trust += SHARE_OF_NEWS * (news - self.trust)


@dataclass(slots=True)
class Pace:
    """How fast tokens come, noted now and then; `token_s` is 0 until it is known."""

    num_tokens: int = 0
    token_s: float = 0.0
    _num_streams: int = 0
    _since: float = 0.0

    def note(self, now: float, num_streams: int, load: Load) -> None:
        """Tell a load what came since it was last told, with so many streams open now."""
        elapsed_s = now - self._since
        if elapsed_s < LEAST_SPAN_S:
            return
        steady = min(num_streams, self._num_streams)
        load.note_pace(self.num_tokens, steady, elapsed_s)
        if steady and self.num_tokens:
            self.token_s = 1 / load.stream_tokens_per_s
        self._since, self._num_streams, self.num_tokens = now, num_streams, 0


class Lengths:
    """How long answers are, going by those that were."""

    def __init__(self, mean: float = 128.0) -> None:
        self.mean = mean

    def expected(self, max_tokens: int) -> float:
        """Return how many tokens to expect of an answer that may have so many."""
        return min(float(max_tokens), self.mean)

    def note(self, num_tokens: int) -> None:
        """Note an answer."""
        self.mean += (num_tokens - self.mean) / 32
