"""OpenVINO GenAI's continuous batching as an Engine: a real model on the CPU."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import openvino
import openvino_genai
from openvino_genai.py_openvino_genai import GenerationHandle

from backend.contract import Refused, Request, Tensors, UnsupportedTensor
from backend.engine import Progress
from backend.engines.openvino.guide_office import GuideOffice
from backend.engines.openvino.guide_trial import GuideTrial
from backend.engines.openvino.guides import structured_output
from backend.engines.openvino.kv_blocks import KvBlocks
from backend.engines.openvino.prefill import Prefills

# 23,296 tokens: 1 GiB with SmolLM2-135M.
_NUM_KV_BLOCKS = 728
_MAX_GUIDES_BYTES = 512 << 20
_MAX_BATCH_TOKENS = 256
_NO_ROOM = RuntimeError("the KV cache has no room for the prompt")
# In full precision, a sequence alone, in a batch or from a cached prefix differs by rounding only.
_EXACT = {
    "INFERENCE_PRECISION_HINT": openvino.Type.f32,
    "KV_CACHE_PRECISION": openvino.Type.f32,
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}


class OpenVinoEngine:
    """Runs a GGUF model of the Llama architecture.

    Each sequence of a request is a request of its own to the pipeline, because that one streams
    only single sequences; sequence i draws with seed + i.
    """

    def __init__(
        self,
        model: Path,
        *,
        max_num_seqs: int,
        reuses_kv_cache: bool = True,
        num_kv_blocks: int = _NUM_KV_BLOCKS,
        max_batch_tokens: int = _MAX_BATCH_TOKENS,
        max_guides_bytes: int = _MAX_GUIDES_BYTES,
    ) -> None:
        self._model = model
        self._max_num_seqs = max_num_seqs
        self._max_guides_bytes = max_guides_bytes
        self._scheduler = openvino_genai.SchedulerConfig()
        self._scheduler.num_kv_blocks = num_kv_blocks
        self._scheduler.max_num_seqs = max_num_seqs
        self._scheduler.max_num_batched_tokens = max_batch_tokens
        self._scheduler.dynamic_split_fuse = True
        self._scheduler.enable_prefix_caching = reuses_kv_cache
        self._trial = GuideTrial(model)
        self._load()

    def check(self, tensors: Tensors, request: Request) -> None:
        """Return if the request can be honoured; raise Refused, naming the tensor, if not."""
        for token in request.input_ids:
            if not 0 <= token < self._vocab_size:
                raise Refused(f"tensor 'input_ids' holds {token}, which is no token of the model")
        at_once = min(self._max_num_seqs, self._kv_blocks.most_at_once(len(request.input_ids)))
        if request.num_return_sequences > at_once:
            raise UnsupportedTensor("num_return_sequences", f"at most {at_once}")
        _check_decoding(request)
        _check_penalties(request)

    def expect_guides(self) -> None:
        """Make ready to compile guides, which the first would else wait some seconds for."""
        self._trial.start()

    def is_prepared(self, request: Request) -> bool:
        """Whether its guide, if any, is compiled; raise Refused where it is known not to be."""
        return request.guide is None or self._guides.is_known(request.guide)

    def prepare(self, request: Request) -> None:
        """Compile the guide: one that does not compile would fail every step of the pipeline."""
        if request.guide is not None:
            self._guides.compile(request.guide)

    def has_room(self, request: Request) -> bool:
        """Whether all sequences of the request can start now."""
        count = request.num_return_sequences
        if len(self._handles) + count > self._max_num_seqs:
            return False
        return self._kv_blocks.have_room(len(request.input_ids), count)

    def start(self, keys: Sequence[int], request: Request) -> None:
        """Begin all sequences of the request, which is prepared."""
        prompt = openvino.Tensor(np.array([request.input_ids], np.int64))
        for index, key in enumerate(keys):
            self._handles[key] = self._pipeline.add_request(key, prompt, _config(request, index))
            self._prefills.add(key)
            self._kv_blocks.add(key, len(request.input_ids))

    @property
    def has_work(self) -> bool:
        """Whether a step has something to do, be it for a sequence that was stopped."""
        return bool(self._handles or self._leaving)

    def step(self) -> list[Progress]:
        """Advance every sequence by one token, or by a piece of its prompt."""
        self._pipeline.step()
        progress = [*self._gained(self._handles)]
        for left in [*self._gained(self._leaving)]:
            self._cancel(left.key, self._leaving.pop(left.key))
        return progress

    def wake(self) -> None:
        """Return: a step computes, and does not wait."""

    def stop(self, key: int) -> None:
        """Forget a sequence, whether it has finished or not.

        Where it is stopped within a block of the KV cache, the pipeline first goes on with it to
        its next token: it has already filed that block under all tokens that it is to hold, and
        would give it, half empty, to whoever comes with the same prompt.
        """
        handle = self._handles.pop(key, None)
        if handle is None:
            return
        if self._prefills.may_be_within_a_block(key):
            self._leaving[key] = handle
        else:
            self._cancel(key, handle)

    def reset(self) -> None:
        """Forget every sequence and what is cached of prompts: load the model anew."""
        del self._pipeline
        self._load()

    def tidy(self) -> None:
        """Load the model anew where it holds too many compiled guides, which it never forgets."""
        if self._guides.is_full:
            self.reset()

    def close(self) -> None:
        """End the compiling of guides."""
        self._trial.close()

    def _cancel(self, key: int, handle: GenerationHandle) -> None:
        handle.cancel()
        self._prefills.remove(key)
        self._kv_blocks.remove(key)

    def _load(self) -> None:
        self._handles: dict[int, GenerationHandle] = {}
        self._leaving: dict[int, GenerationHandle] = {}
        self._prefills = Prefills()
        self._kv_blocks = KvBlocks(self._scheduler.num_kv_blocks)
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            self._model, self._scheduler, "CPU", _EXACT
        )
        tokenizer = self._pipeline.get_tokenizer()
        self._vocab_size = len(tokenizer.get_vocab())
        self._guides = GuideOffice(tokenizer, self._trial, self._max_guides_bytes)
        self._warm_up()

    def _gained(self, handles: dict[int, GenerationHandle]) -> Iterator[Progress]:
        for key, handle in handles.items():
            has_token = handle.can_read()
            self._prefills.note(key, has_token=has_token)
            if has_token:
                (output,) = handle.read().values()
                self._kv_blocks.grow(key, len(output.generated_ids))
                ended = output.finish_reason != openvino_genai.GenerationFinishReason.NONE
                yield Progress(key, output.generated_ids, output.generated_log_probs, ended)
            elif handle.get_status() == openvino_genai.GenerationStatus.IGNORED:
                self._prefills.remove(key)
                yield Progress(key, [], [], error=_NO_ROOM)

    def _warm_up(self) -> None:
        self.start([0], Request(id="", input_ids=(0,), max_tokens=1))
        while self._handles:
            for progress in self.step():
                self.stop(progress.key)


def _check_decoding(request: Request) -> None:
    if request.beam_width > 1:
        raise UnsupportedTensor("beam_width", "no beam search")
    if request.bad_words:
        raise UnsupportedTensor("bad_words_list", "no words can be banned")
    if request.embedding_bias is not None:
        raise UnsupportedTensor("embedding_bias", "logits cannot be biased")


def _check_penalties(request: Request) -> None:
    if not request.repetition_penalty > 0:
        raise UnsupportedTensor("repetition_penalty", "it must be above 0")
    for name in ("presence_penalty", "frequency_penalty"):
        if not -2 <= getattr(request, name) <= 2:
            raise UnsupportedTensor(name, "it must be between -2 and 2")


def _config(request: Request, index: int) -> openvino_genai.GenerationConfig:
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = request.max_tokens
    config.min_new_tokens = min(request.min_tokens, request.max_tokens)
    config.repetition_penalty = request.repetition_penalty
    config.presence_penalty = request.presence_penalty
    config.frequency_penalty = request.frequency_penalty
    config.logprobs = int(request.return_log_probs)
    _set_ends(config, request)
    if request.is_sampled:
        _set_sampling(config, request, index)
    if request.guide is not None:
        config.structured_output_config = structured_output(request.guide)
    return config


def _set_ends(config: openvino_genai.GenerationConfig, request: Request) -> None:
    ends = {word[0] for word in request.stop_words if len(word) == 1}
    if request.end_id >= 0:
        ends.add(request.end_id)
    config.ignore_eos = not ends
    if ends:
        config.stop_token_ids = ends
        config.eos_token_id = min(ends)  # must be one of them, else the model's own is added


def _set_sampling(config: openvino_genai.GenerationConfig, request: Request, index: int) -> None:
    config.do_sample = True
    config.temperature = request.temperature
    config.rng_seed = (request.seed + index) % 2**64
    if request.top_k > 0:
        config.top_k = request.top_k
    if request.top_p > 0:
        config.top_p = min(request.top_p, 1.0)
