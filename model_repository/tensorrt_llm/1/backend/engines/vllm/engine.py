"""vLLM behind the loop: sequences begun and stopped by message, progress as it is told."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backend.contract import Refused, Request, Tensors, UnsupportedTensor
from backend.engine import Progress, PromptLogProbs
from backend.engines.vllm import wire
from backend.engines.vllm.process import EngineEnded, EngineProcess, Program

# How long a step waits where nothing comes: callers that went away are looked for after it.
_PATIENCE_S = 0.05
_MAX_TEMPERATURE = 2.0
_MAX_GUIDE_BYTES = 512 << 10


class VllmEngine:
    """Runs what vLLM runs. Sequence i of a request draws with seed + i.

    When vLLM's process ends, so does this one: Triton then says that the model is not ready.
    """

    def __init__(self, process: EngineProcess, *, max_num_seqs: int) -> None:
        self._process = process
        self._max_num_seqs = max_num_seqs
        self._keys: set[int] = set()

    @classmethod
    def load(
        cls, file: Path, *, max_num_seqs: int, max_seq_len: int, reuses_kv_cache: bool
    ) -> "VllmEngine":
        """The engine that vllm.json describes. Raises EngineEnded where it does not load."""
        described = json.loads(file.read_bytes())
        decided = {
            "max_num_seqs": max_num_seqs,
            "max_model_len": max_seq_len,
            "enable_prefix_caching": reuses_kv_cache,
        }
        program = Program(described["arguments"] | decided, described.get("python", ""))
        return cls(EngineProcess(program), max_num_seqs=max_num_seqs)

    def check(self, tensors: Tensors, request: Request) -> None:
        """Return if the request can be honoured; raise Refused, naming the tensor, if not."""
        vocab_size = self._process.ready.vocab_size
        if not 0 <= min(request.input_ids) <= max(request.input_ids) < vocab_size:
            raise Refused("tensor 'input_ids' holds what is no token of the model")
        if request.num_return_sequences > self._max_num_seqs:
            raise UnsupportedTensor("num_return_sequences", f"at most {self._max_num_seqs}")
        if request.beam_width > 1:
            raise UnsupportedTensor("beam_width", "no beam search")
        if request.lora is not None and not request.lora.path:
            raise Refused("tensor 'lora_path' must come with 'lora_task_id'")
        _check_sampling(request)
        if request.guide and len(request.guide.text.encode()) > _MAX_GUIDE_BYTES:
            raise Refused(f"invalid guide: more than {_MAX_GUIDE_BYTES} bytes")

    def is_prepared(self, request: Request) -> bool:
        """True: nothing needs to be prepared."""
        return True

    def prepare(self, request: Request) -> None:
        """Return: there is nothing to prepare."""
        return

    def has_room(self, request: Request) -> bool:
        """Whether all sequences of the request fit the batch."""
        return len(self._keys) + request.num_return_sequences <= self._max_num_seqs

    def start(self, keys: Sequence[int], request: Request) -> None:
        """Begin all sequences of the request."""
        self._process.tell([_start(key, request, index) for index, key in enumerate(keys)])
        self._keys.update(keys)

    @property
    def has_work(self) -> bool:
        """Whether there are sequences to wait for."""
        return bool(self._keys)

    def step(self) -> Iterator[Progress]:
        """Wait until sequences gained something, or 50 ms; give what they gained."""
        for gained in self._process.listen(_PATIENCE_S):
            assert isinstance(gained, wire.Gained)
            if gained.is_finished:
                self._keys.discard(gained.key)
            yield self._progress(gained)

    def wake(self) -> None:
        """End the wait of the step under way, or of the next."""
        self._process.wake()

    def stop(self, key: int) -> None:
        """Forget a sequence, whether it has finished or not."""
        if key not in self._keys:
            return
        self._keys.discard(key)
        with contextlib.suppress(EngineEnded):
            self._process.tell([wire.Stop(key)])

    def reset(self) -> None:
        """Forget every sequence."""
        for key in list(self._keys):
            self.stop(key)

    def tidy(self) -> None:
        """Return: nothing piles up."""
        return

    def close(self) -> None:
        """End vLLM's process."""
        self._process.close()

    def _progress(self, gained: wire.Gained) -> Progress:
        error: Exception | None = None
        if gained.error:
            error = Refused(gained.error) if gained.is_refused else RuntimeError(gained.error)
        blocks = gained.cached_tokens
        if blocks > 0:
            blocks //= self._process.ready.tokens_per_block
        return Progress(
            gained.key,
            gained.ids,
            gained.log_probs,
            gained.is_finished,
            error,
            blocks,
            gained.tops,
            PromptLogProbs(*gained.prompt) if gained.prompt else None,
        )


def _start(key: int, request: Request, index: int) -> wire.Start:
    """Sequence `index` of a request; of a prompt only the first tells the log probabilities."""
    guide, lora = request.guide, request.lora
    return wire.Start(
        key=key,
        prompt=request.input_ids,
        max_tokens=request.max_tokens,
        min_tokens=min(request.min_tokens, request.max_tokens),
        end_ids=_end_ids(request),
        **_sampling(request),
        seed=(request.seed + index) % 2**64,
        num_log_probs=_num_log_probs(request),
        num_prompt_log_probs=-1 if index else request.num_prompt_log_probs,
        guide_kind=guide.kind if guide else "",
        guide=guide.text if guide else "",
        bad_words=request.bad_words,
        bias=_bias(request),
        lora_id=lora.task_id if lora else 0,
        lora_path=lora.path if lora else "",
    )


def _sampling(request: Request) -> dict[str, Any]:
    sampled = request.is_sampled
    return {
        "temperature": request.temperature if sampled else 0.0,
        "top_k": max(request.top_k, 0) if sampled else 0,
        "top_p": min(request.top_p, 1.0) if sampled and request.top_p > 0 else 1.0,
        "repetition_penalty": request.repetition_penalty,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }


def _num_log_probs(request: Request) -> int:
    if request.return_log_probs or request.num_top_log_probs:
        return request.num_top_log_probs
    return -1


def _bias(request: Request) -> tuple[tuple[int, float], ...]:
    bias = request.embedding_bias
    if bias is None:
        return ()
    flat = bias.ravel()
    return tuple((int(at), float(flat[at])) for at in np.flatnonzero(flat))


def _end_ids(request: Request) -> tuple[int, ...]:
    ends = [word[0] for word in request.stop_words if len(word) == 1]
    if request.end_id >= 0:
        ends.append(request.end_id)
    return tuple(ends)


def _check_sampling(request: Request) -> None:
    """Refuse what vLLM would (SamplingParams._verify_args), by the name of the tensor."""
    if request.is_sampled and request.temperature > _MAX_TEMPERATURE:
        raise UnsupportedTensor("temperature", f"it must be at most {_MAX_TEMPERATURE:g}")
    if not request.repetition_penalty > 0:
        raise UnsupportedTensor("repetition_penalty", "it must be above 0")
    for name in ("presence_penalty", "frequency_penalty"):
        if not -2 <= getattr(request, name) <= 2:
            raise UnsupportedTensor(name, "it must be between -2 and 2")
