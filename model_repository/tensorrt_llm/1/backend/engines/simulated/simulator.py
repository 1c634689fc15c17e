"""A simulator of TensorRT-LLM as an Engine: scripted tokens, at a pace that a cost model sets."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from backend.contract import Refused, Request, Tensors, UnsupportedTensor
from backend.engine import Progress
from backend.engines.simulated.prefix_cache import BLOCK_TOKENS, PrefixCache
from backend.engines.simulated.script import Cost, Fault, Row, Script, SimulatorFile

_STALLED_S = 0.001


class Clock(NamedTuple):
    """Seconds on a clock that never goes back, and a way to let them pass."""

    now: Callable[[], float]
    sleep: Callable[[float], None]


SYSTEM_CLOCK = Clock(time.monotonic, time.sleep)


class SimulatedSequence:
    """Where one sequence stands in its script."""

    def __init__(self, row: Row, tokens: Iterator[int], kv_tokens: int, clock: Clock) -> None:
        self._clock = clock
        self.kv_tokens = kv_tokens
        self.row = row
        self._tokens = tokens
        self._sizes = itertools.chain(row.deltas, itertools.repeat(row.deltas[-1]))
        self._sent = 0
        self._fault = row.fault
        self._stalled_until = 0.0

    @property
    def is_stalled(self) -> bool:
        """Whether it sends nothing now."""
        return self._stalled_until > 0 and self._clock.now() < self._stalled_until

    def due_fault(self) -> Fault | None:
        """The fault whose time has come; it comes once."""
        if self._fault is None or self._sent < self._fault.after:
            return None
        fault, self._fault = self._fault, None
        if fault.kind == "stall":
            self._stalled_until = self._clock.now() + fault.seconds
        return fault

    def next_delta(self) -> list[int]:
        """The tokens of the next delta, no further than the next fault."""
        size = next(self._sizes)
        if self._fault is not None:
            size = min(size, self._fault.after - self._sent)
        self._sent += size
        return list(itertools.islice(self._tokens, size))

    def log_probs(self, ids: list[int]) -> list[float]:
        """A natural log for each of the tokens just sent: scripted, or made up from its id."""
        scripted = self.row.log_probs
        if not scripted:
            return [-(token % 97 + 1) / 97 for token in ids]
        start = self._sent - len(ids)
        return [scripted[at % len(scripted)] for at in range(start, self._sent)]


class Simulator:
    """Answers by script, as fast as the loop can send unless the cost model says otherwise.

    It takes every tensor of the contract that its answers cannot contradict, guides included.
    """

    def __init__(
        self, script: Script, cost: Cost, *, max_num_seqs: int, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._clock = clock
        self._script = script
        self._cost = cost
        self._max_num_seqs = max_num_seqs
        self._active: dict[int, SimulatedSequence] = {}
        self._prefixes = PrefixCache(cost.prefix_cache_tokens)
        self._reused_blocks: dict[int, int] = {}
        self._prefill_tokens = 0
        self._num_asked = 0
        self._due = 0.0

    @classmethod
    def load(
        cls, path: Path, *, tokenizer: Path, max_num_seqs: int, clock: Clock = SYSTEM_CLOCK
    ) -> "Simulator":
        """The simulator that a JSON file describes; without the file, filler for every prompt."""
        content = path.read_bytes() if path.is_file() else b"{}"
        file = msgspec.json.decode(content, type=SimulatorFile)
        script = Script(file.answers, tokenizer)
        return cls(script, file.cost, max_num_seqs=max_num_seqs, clock=clock)

    def check(self, tensors: Tensors, request: Request) -> None:
        """Return unless the request could never start."""
        capacity = self._cost.kv_capacity_tokens
        if capacity and _kv_tokens(request) * request.num_return_sequences > capacity:
            raise Refused(f"the request needs more than the {capacity} tokens of the KV cache")
        if request.num_return_sequences > self._max_num_seqs:
            raise UnsupportedTensor("num_return_sequences", f"at most {self._max_num_seqs}")

    def is_prepared(self, request: Request) -> bool:
        """True: a script is ready for everything."""
        return True

    def prepare(self, request: Request) -> None:
        """Return: there is nothing to prepare."""

    def has_room(self, request: Request) -> bool:
        """Whether all sequences fit the batch, and the KV cache up to their last token."""
        if len(self._active) + request.num_return_sequences > self._max_num_seqs:
            return False
        used = sum(sequence.kv_tokens for sequence in self._active.values())
        needed = _kv_tokens(request) * request.num_return_sequences
        capacity = self._cost.kv_capacity_tokens
        return not capacity or used + needed <= capacity

    def start(self, keys: Sequence[int], request: Request) -> None:
        """Begin all sequences of the request, whose prompt is computed once."""
        row = self._befallen(self._script.row(request))
        if not self._active:
            self._due = self._clock.now()
        for index, key in enumerate(keys):
            tokens = self._script.tokens(row, request, index)
            self._active[key] = SimulatedSequence(row, tokens, _kv_tokens(request), self._clock)
        self._prefill_tokens += len(request.input_ids) - self._reuse(keys, row, request)

    @property
    def has_work(self) -> bool:
        """Whether there are sequences."""
        return bool(self._active)

    def step(self) -> Iterator[Progress]:
        """Wait for as long as the step would take, then advance every sequence by one delta."""
        self._wait()
        if all(sequence.is_stalled for sequence in self._active.values()):
            self._clock.sleep(_STALLED_S)
        for key, sequence in list(self._active.items()):
            fault = sequence.due_fault()
            if fault is not None and fault.kind == "crash":
                raise RuntimeError(fault.message)
            if fault is not None and fault.kind == "hang":
                self._clock.sleep(fault.seconds)
            if fault is not None and fault.kind == "error":
                yield Progress(key, [], [], error=RuntimeError(fault.message))
            elif not sequence.is_stalled:
                ids = sequence.next_delta()
                blocks = self._reused_blocks.get(key, sequence.row.kv_cache_reused_blocks)
                yield Progress(key, ids, sequence.log_probs(ids), reused_blocks=blocks)

    def wake(self) -> None:
        """Return: a step is not waited for longer than it takes."""

    def stop(self, key: int) -> None:
        """Forget a sequence, whether it has finished or not."""
        self._active.pop(key, None)
        self._reused_blocks.pop(key, None)

    def reset(self) -> None:
        """Forget every sequence."""
        self._active.clear()
        self._reused_blocks.clear()

    def tidy(self) -> None:
        """Return: nothing piles up."""

    def close(self) -> None:
        """Return: there is nothing to end."""

    def _befallen(self, row: Row) -> Row:
        """Return a row with its fault only if that befalls the request."""
        if row.fault is None or row.fault.every == 1:
            return row
        self._num_asked += 1
        is_hit = self._num_asked % row.fault.every == 0
        return row if is_hit else msgspec.structs.replace(row, fault=None)

    def _reuse(self, keys: Sequence[int], row: Row, request: Request) -> int:
        """Return how many tokens of the prompt need not be computed."""
        if not self._cost.prefix_cache_tokens:
            return 0
        reused = self._prefixes.take(request.input_ids)
        if row.kv_cache_reused_blocks < 0:
            self._reused_blocks.update(dict.fromkeys(keys, reused))
        return reused * BLOCK_TOKENS

    def _wait(self) -> None:
        cost = self._cost
        duration = cost.step_s + cost.step_s_per_sequence * len(self._active)
        if cost.prefill_tokens_per_s:
            duration += self._prefill_tokens / cost.prefill_tokens_per_s
        self._prefill_tokens = 0
        now = self._clock.now()
        # From the last step's end, not from now: sending overlaps with computing on a GPU.
        self._due = max(self._due + duration, now)
        if self._due > now:
            self._clock.sleep(self._due - now)


def _kv_tokens(request: Request) -> int:
    return len(request.input_ids) + request.max_tokens
