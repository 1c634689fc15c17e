"""A thread that advances every request by a token a step, by script.

Sequences end as upstream's TorchSampler ends them (`_handle_stop_criteria` in
_torch/pyexecutor/sampler.py): an end token and a stop token are among the tokens.
A step that fails ends all requests in flight by its error, and no later ones (`_handle_errors` in
_torch/pyexecutor/py_executor.py). A guide that does not compile fails its own request, by the text
of guided_decoder.py there. Log probabilities are made up: the chosen token's is its id's, the
others follow it, one token and 1.0 apart.
"""

import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from backend.contract import Request
from backend.engines.simulated.script import Row, Script, SimulatorFile

from tensorrt_llm.executor.request import LoRARequest
from tensorrt_llm.executor.result import GenerationResult, Logprob, Response, TokenLogprobs
from tensorrt_llm.sampling_params import GuidedDecodingParams, SamplingParams

_IDLE_S = 0.005


class Executor:
    """Requests come from an event loop, steps are the thread's."""

    def __init__(self, model: Path, args: Any) -> None:
        file = msgspec.json.decode((model / "simulator.json").read_bytes(), type=SimulatorFile)
        self._script = Script(file.answers, model)
        self._step_s = max(file.cost.step_s, 0.0)
        self._tokens_per_block = args.kv_cache_config.tokens_per_block
        self._ids = itertools.count(1)
        self._active: dict[int, _Generating] = {}
        self._aborted: set[int] = set()
        self._lock = threading.Lock()
        self._arrival = threading.Event()
        self.is_shutdown = False
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        self._thread.start()

    def submit(
        self,
        prompt: list[int],
        params: SamplingParams,
        lora: LoRARequest | None,
        streaming: bool,
    ) -> GenerationResult:
        """Begin a request, on the event loop that reads it."""
        result = GenerationResult(next(self._ids), params, self.abort_request)
        generating = _Generating(prompt, params, lora, streaming, result, self._script)
        with self._lock:
            self._active[result.request_id] = generating
        self._arrival.set()
        return result

    def abort_request(self, request_id: int) -> None:
        """End a request at the next step; one that is not there is ignored."""
        with self._lock:
            self._aborted.add(request_id)

    def shutdown(self) -> None:
        """End the thread."""
        self.is_shutdown = True
        self._arrival.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self.is_shutdown:
            if not self._active:
                self._arrival.wait(_IDLE_S)
                self._arrival.clear()
                continue
            time.sleep(self._step_s)
            try:
                self._step()
            except RuntimeError as error:
                self._fail_all(str(error))

    def _step(self) -> None:
        with self._lock:
            active, aborted = dict(self._active), self._aborted
            self._aborted = set()
        for request_id, generating in active.items():
            if request_id in aborted:
                generating.cancel()
            else:
                generating.advance(self._tokens_per_block)
            if generating.is_done:
                with self._lock:
                    del self._active[request_id]

    def _fail_all(self, message: str) -> None:
        with self._lock:
            failed, self._active = self._active, {}
        for generating in failed.values():
            generating.fail(message)


@dataclass
class _Sequence:
    tokens: Iterator[int]
    sizes: Iterator[int]
    told: list[int] = field(default_factory=list)
    num_sent: int = 0
    is_finished: bool = False


class _Generating:
    def __init__(
        self,
        prompt: list[int],
        params: SamplingParams,
        lora: LoRARequest | None,
        streaming: bool,
        result: GenerationResult,
        script: Script,
    ) -> None:
        self._params, self._streaming, self._result = params, streaming, result
        self._prompt = prompt
        request = _as_asked(prompt, params)
        self._row: Row = script.row(request)
        first = lora.lora_int_id if lora else 0  # an adapter answers with an alternative
        self._sequences = [
            _Sequence(
                script.tokens(self._row, request, first + at),
                itertools.chain(self._row.deltas, itertools.repeat(self._row.deltas[-1])),
            )
            for at in range(params.best_of or 1)
        ]
        self._guide_error = _why_not(params.guided_decoding)
        self._has_prompt = params.prompt_logprobs is None
        self._fault = self._row.fault
        self._stalled_until = 0.0
        self.is_done = False

    def advance(self, tokens_per_block: int) -> None:
        """Tell of the next tokens of every sequence."""
        if self._guide_error:
            self.fail(f"Guided decoding error: {self._guide_error}")
            return
        if self._is_held_up():
            return
        for at, sequence in enumerate(self._sequences):
            if not (sequence.is_finished or self.is_done):
                self._advance(at, sequence, tokens_per_block)

    def cancel(self) -> None:
        """End it as one that was aborted."""
        self.is_done = True
        for at in range(len(self._sequences)):
            self._result.put(Response(at, [], [], "cancelled", True, 0))

    def fail(self, message: str) -> None:
        """End it by an error."""
        self.is_done = True
        self._result.put(Response(0, [], [], None, True, 0, error_msg=message))

    def _is_held_up(self) -> bool:
        fault = self._fault
        if fault is not None and max(len(each.told) for each in self._sequences) >= fault.after:
            self._fault = None
            if fault.kind == "crash":
                raise RuntimeError(fault.message)
            if fault.kind == "error":
                self.fail(fault.message)
                return True
            self._stalled_until = time.monotonic() + fault.seconds
        return time.monotonic() < self._stalled_until

    def _advance(self, at: int, sequence: _Sequence, tokens_per_block: int) -> None:
        reason = None
        for _ in range(self._size(sequence)):
            sequence.told.append(next(sequence.tokens))
            reason = _reason(sequence.told, self._params)
            if reason:
                break
        sequence.is_finished = reason is not None
        self.is_done = all(each.is_finished for each in self._sequences)
        if not (self._streaming or sequence.is_finished):
            return
        ids = sequence.told[sequence.num_sent :]
        places = range(sequence.num_sent, len(sequence.told))
        sequence.num_sent = len(sequence.told)
        log_probs = [self._entry(at, token) for at, token in zip(places, ids, strict=True)]
        cached = max(self._row.kv_cache_reused_blocks, 0) * tokens_per_block
        wants = self._params.logprobs is not None
        self._result.put(
            Response(
                at, ids, log_probs if wants else [], reason, self.is_done, cached, self._told(ids)
            )
        )

    def _size(self, sequence: _Sequence) -> int:
        """How many tokens it gains now, no further than the next fault."""
        size = next(sequence.sizes)
        if self._fault is None:
            return size
        return min(size, self._fault.after - len(sequence.told))

    def _entry(self, place: int, token: int) -> dict[int, Logprob]:
        scripted = self._row.log_probs
        log_prob = scripted[place % len(scripted)] if scripted else -(token % 97 + 1) / 97
        return likeliest(token, log_prob, self._params.logprobs or 0)

    def _told(self, ids: list[int]) -> TokenLogprobs | None:
        """Of the prompt: each place is of the token that follows (base_worker.py of 1.3,
        `_compute_pytorch_prompt_logprobs`), the last of the first one generated."""
        if self._has_prompt:
            return None
        self._has_prompt = True
        count = self._params.prompt_logprobs or 0
        return [
            likeliest(token, -(token % 89 + 1) / 89, count)
            for token in [*self._prompt[1:], *ids[:1]]
        ]


def likeliest(token: int, log_prob: float, count: int) -> dict[int, Logprob]:
    """An entry with the chosen token first; one more where that is beyond the first `count`."""
    others = {token + at: Logprob(log_prob - at, at + 1) for at in range(1, max(count, 1))}
    return {token: Logprob(log_prob, 1), **others}


def _as_asked(prompt: list[int], params: SamplingParams) -> Request:
    """What the script goes by."""
    ends = params.stop_token_ids or []
    return Request(
        id="",
        input_ids=tuple(prompt),
        max_tokens=params.max_tokens,
        end_id=-1 if params.end_id is None else params.end_id,
        stop_words=tuple((token,) for token in ends),
        min_tokens=params.min_tokens or 0,
        seed=params.seed or 0,
        temperature=1.0 if params.temperature is None else params.temperature,
        top_k=params.top_k or 0,
        top_p=1.0 if params.top_p is None and params.top_k != 1 else params.top_p or 0.0,
    )


def _reason(told: list[int], params: SamplingParams) -> str | None:
    if len(told) > (params.min_tokens or 0):
        if told[-1] == params.end_id:
            return "stop"
        if told[-1] in (params.stop_token_ids or []):
            return "stop_words"
    return "length" if len(told) >= params.max_tokens else None


def _why_not(guide: GuidedDecodingParams | None) -> str:
    """Why a guide does not compile, "" where it does. Far less strict than xgrammar."""
    if guide is None:
        return ""
    try:
        if guide.json is not None:
            schema = json.loads(guide.json)
            if schema.get("type") == "nonsense":
                return 'Unsupported type "nonsense"'
        if guide.regex is not None:
            re.compile(guide.regex)
    except (ValueError, re.error, RecursionError) as error:
        return str(error)
    is_unclosed = guide.grammar is not None and guide.grammar.count("(") != guide.grammar.count(")")
    return "the grammar is not closed" if is_unclosed else ""
