"""vllm/v1/engine/async_llm.py: requests that advance together, read as async iterators.

As there: a step's outputs are handed to all its requests before any of them runs (output_handler);
what a request has not read yet is joined (RequestOutputCollector); one whose iterator is closed is
aborted (generate). A token that ends a request is part of its output (check_stop), what cannot be
asked for is a ValueError (process_inputs), and an engine that died fails all (propagate_error).
"""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

STEP_S = 0.002
VOCAB_SIZE = 49_152
# A prompt that ends with one of these makes something happen.
DIES, EXITS, IS_ABORTED = 49_001, 49_002, 49_003
BAD_GUIDES = ("((((", "root ::= foo", '{"type": "nonsense"}')


class EngineDeadError(Exception):
    """vllm/v1/engine/exceptions.py."""


def token(prompt: list[int], at: int, seed: int) -> int:
    """The token of a sequence at a place: no model, but never twice the same in 1000 tokens."""
    return (sum(prompt) * 31 + seed * 7919 + at * 37) % 48_000


def log_prob(token_id: int) -> float:
    """A natural log."""
    return -(token_id % 97 + 1) / 97


def log_probs(token_id: int, num_tops: int) -> dict[int, Any]:
    """As vllm/outputs.py has them: the token's own, and those of the likeliest, by token."""
    tops = {VOCAB_SIZE - 1 - rank: -(rank + 1) / 1000 for rank in range(num_tops)}
    told = {token_id: log_prob(token_id)} | tops
    return {token: SimpleNamespace(logprob=value) for token, value in told.items()}


@dataclass
class _Sequence:
    prompt: list[int]
    params: Any
    cached_tokens: int
    ids: list[int] = field(default_factory=list)
    unread: list[int] = field(default_factory=list)
    ending: str | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def advance(self) -> None:
        params = self.params
        seed = params.seed if params.temperature > 0 else 0
        banned = params._bad_words_token_ids or []
        bias = params.logit_bias or {}
        chosen = token(self.prompt, len(self.ids), seed)
        if [chosen] in banned:
            chosen += 1
        self.ids.append(max(bias, key=lambda one: bias[one]) if bias else chosen)
        self.unread.append(self.ids[-1])
        if len(self.ids) >= params.min_tokens and self.ids[-1] in params.stop_token_ids:
            self.ending = "stop"
        elif len(self.ids) >= params.max_tokens:
            self.ending = "length"
        if self.prompt[-1] == IS_ABORTED:
            self.ending = "abort"
        self.ready.set()


class AsyncLLM:
    """The engine: `from_engine_args`, `generate`, `shutdown`."""

    def __init__(self, arguments: Any) -> None:
        if not os.path.isdir(arguments.model):
            raise ValueError(f"Invalid repository ID or local directory specified: {arguments}")
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(
                max_model_len=arguments.max_model_len, get_vocab_size=lambda: VOCAB_SIZE
            ),
            cache_config=SimpleNamespace(block_size=arguments.block_size),
        )
        self._block_size = arguments.block_size
        self._has_lora = arguments.enable_lora
        self._caches = arguments.enable_prefix_caching
        self._cached: set[tuple[int, ...]] = set()
        self._running: dict[str, _Sequence] = {}
        self._work = asyncio.Event()
        self.output_handler = asyncio.create_task(self._handle_outputs())

    @classmethod
    def from_engine_args(cls, arguments: Any) -> "AsyncLLM":
        return cls(arguments)

    async def generate(
        self,
        prompt: dict[str, list[int]],
        params: Any,
        request_id: str,
        *,
        lora_request: Any = None,
    ) -> AsyncIterator[Any]:
        ids = prompt["prompt_token_ids"]
        if lora_request is not None and not self._has_lora:  # _validate_lora
            raise ValueError(f"Got lora_request {lora_request} but LoRA is not enabled!")
        guide = params.structured_outputs
        if guide and (guide.json or guide.regex or guide.grammar) in BAD_GUIDES:
            raise ValueError("Failed to transform the guide into a grammar: it is not one")
        if ids[-1] == EXITS:
            os._exit(9)
        sequence = self._running[request_id] = _Sequence(ids, params, self._look_up(ids))
        self._work.set()
        try:
            while sequence.ending is None or sequence.unread:
                await sequence.ready.wait()
                sequence.ready.clear()
                if self.output_handler.done():
                    raise EngineDeadError("EngineCore encountered an issue.")
                yield self._output(request_id, sequence)
        finally:
            self._running.pop(request_id, None)

    def shutdown(self) -> None:
        self.output_handler.cancel()

    def _look_up(self, ids: list[int]) -> int:
        """How many tokens of a prompt are cached, in whole blocks and never all of them."""
        ends = range(self._block_size, len(ids), self._block_size)
        found = max((end for end in ends if tuple(ids[:end]) in self._cached), default=0)
        if self._caches:
            self._cached.update(tuple(ids[:end]) for end in ends)
        return found

    def _output(self, request_id: str, sequence: _Sequence) -> Any:
        ids, sequence.unread = sequence.unread, []
        told, prompt_told = sequence.params.logprobs, None
        if sequence.params.prompt_logprobs is not None and len(ids) == len(sequence.ids):
            count = sequence.params.prompt_logprobs
            prompt_told = [None, *(log_probs(one, count) for one in sequence.prompt[1:])]
        completion = SimpleNamespace(
            index=0,
            token_ids=ids,
            logprobs=None if told is None else [log_probs(one, told) for one in ids],
            finish_reason=sequence.ending,
        )
        return SimpleNamespace(
            request_id=request_id,
            outputs=[completion],
            prompt_logprobs=prompt_told,
            finished=sequence.ending is not None,
            num_cached_tokens=sequence.cached_tokens,
        )

    async def _handle_outputs(self) -> None:
        while True:
            if not self._running:
                self._work.clear()
            await self._work.wait()
            await asyncio.sleep(STEP_S)
            if any(sequence.prompt[-1] == DIES for sequence in self._running.values()):
                for sequence in self._running.values():
                    sequence.ready.set()
                return
            for sequence in self._running.values():
                if sequence.ending is None:
                    sequence.advance()
