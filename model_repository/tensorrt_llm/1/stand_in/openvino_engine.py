"""OpenVINO GenAI's continuous batching as an Engine: a real model on the CPU."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino
import openvino_genai

from stand_in.contract import Guide, Refused, Request, Tensors, UnsupportedTensor, words
from stand_in.engine import Progress
from stand_in.guides import GuideCheck, structured_output

_CACHE_GB = 1
_RECOVERY_STEPS = 3
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

    def __init__(self, model: Path, *, max_num_seqs: int, reuses_kv_cache: bool = True) -> None:
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = _CACHE_GB
        scheduler.max_num_seqs = max_num_seqs
        scheduler.dynamic_split_fuse = True
        scheduler.enable_prefix_caching = reuses_kv_cache
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(model, scheduler, "CPU", _EXACT)
        tokenizer = self._pipeline.get_tokenizer()
        self._vocab_size = len(tokenizer.get_vocab())
        self._guides = GuideCheck(tokenizer)
        self._max_num_seqs = max_num_seqs
        self._handles: dict[int, openvino_genai.GenerationHandle] = {}
        self._warm_up()

    def check(self, tensors: Tensors, request: Request) -> None:
        """Return if the request can be honoured; raise Refused, naming the tensor, if not."""
        for token in request.input_ids:
            if not 0 <= token < self._vocab_size:
                raise Refused(f"tensor 'input_ids' holds {token}, which is no token of the model")
        if request.num_return_sequences > self._max_num_seqs:
            raise UnsupportedTensor("num_return_sequences", f"at most {self._max_num_seqs}")
        _check_decoding(tensors)
        _check_penalties(request)

    def has_room(self, request: Request) -> bool:
        """Whether all sequences of the request can start now."""
        return len(self._handles) + request.num_return_sequences <= self._max_num_seqs

    def start(self, key: int, request: Request, index: int) -> None:
        """Begin sequence `index` of the request; raise Refused if its guide does not compile."""
        if request.guide is not None and index == 0:
            self._check_guide(request.guide)
        prompt = openvino.Tensor(np.array([request.input_ids], np.int64))
        self._handles[key] = self._pipeline.add_request(key, prompt, _config(request, index))

    def step(self) -> Iterator[Progress]:
        """Advance every sequence by one token, or by a piece of its prompt."""
        self._pipeline.step()
        for key, handle in list(self._handles.items()):
            if handle.can_read():
                (output,) = handle.read().values()
                ended = output.finish_reason != openvino_genai.GenerationFinishReason.NONE
                yield Progress(key, output.generated_ids, output.generated_log_probs, ended)
            elif handle.get_status() == openvino_genai.GenerationStatus.IGNORED:
                yield Progress(key, [], [], error="the KV cache has no room for the prompt")

    def stop(self, key: int) -> None:
        """Forget a sequence, whether it has finished or not."""
        if handle := self._handles.pop(key, None):
            handle.cancel()

    def reset(self) -> None:
        """Forget every sequence, and let the pipeline do so: until then it would raise again."""
        for key in list(self._handles):
            self.stop(key)
        for _ in range(_RECOVERY_STEPS):
            with contextlib.suppress(RuntimeError):
                self._pipeline.step()

    def _check_guide(self, guide: Guide) -> None:
        self._guides.check(guide)

    def _warm_up(self) -> None:
        self.start(0, Request(id="", input_ids=(0,), max_tokens=1), 0)
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        self.stop(0)


def _check_decoding(tensors: Tensors) -> None:
    if "beam_width" in tensors and tensors["beam_width"].max() > 1:
        raise UnsupportedTensor("beam_width", "no beam search")
    if words(tensors, "bad_words_list"):
        raise UnsupportedTensor("bad_words_list", "no words can be banned")
    if "embedding_bias" in tensors and tensors["embedding_bias"].any():
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
