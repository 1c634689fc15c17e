"""A request in the words of the LLM API. Knows no engine.

Source: tensorrt_llm/sampling_params.py and executor/request.py of NVIDIA/TensorRT-LLM, 1.2 and 1.3.
"""

from typing import Any

from backend.contract import Guide, Lora, Refused, Request, UnsupportedTensor

# Upstream refuses several greedy answers to a prompt, unless told otherwise.
ALLOW_SEVERAL_GREEDY = "TLLM_ALLOW_N_GREEDY_DECODING"


def check(request: Request, *, can_penalize: bool = True) -> None:
    """Return if the LLM API has words for all that is asked; raise Refused, naming the tensor.

    A sampler that cannot penalize takes penalties and banned words, and does nothing about them.
    """
    if not can_penalize:
        _check_penalties(request)
    if request.beam_width > 1:
        raise UnsupportedTensor("beam_width", "no beam search")
    if any(len(word) > 1 for word in request.bad_words):
        raise UnsupportedTensor("bad_words_list", "only words of one token")
    if request.lora is not None and not request.lora.path:
        raise Refused("tensor 'lora_path' must come with 'lora_task_id'")


def can_penalize(version: str, sampler: str) -> bool:
    """Whether penalties and banned words have an effect: by docs/source/features/sampling.md of
    the releases, on TRTLLMSampler always, on TorchSampler, the default, since 1.3."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return sampler.endswith("TRTLLMSampler") or (major, minor) >= (1, 3)


def sampling_params(request: Request) -> Any:
    """The SamplingParams of a request.

    Stop words of several tokens have no words here: they end the sequence where it is read.
    """
    from tensorrt_llm import SamplingParams

    return SamplingParams(**(_lengths(request) | _sampling(request) | _outputs(request)))


def reads_token_by_token(request: Request) -> bool:
    """Whether the answer has to be read as it is generated, be it for an end of several tokens."""
    return request.streaming or any(len(word) > 1 for word in request.stop_words)


def lora_request(lora: Lora | None) -> Any:
    """The LoRARequest of an adapter. Raises Refused where its folder is not there."""
    if lora is None:
        return None
    from tensorrt_llm.executor import LoRARequest

    try:
        return LoRARequest(f"adapter-{lora.task_id}", lora.task_id, lora.path)
    except ValueError:
        raise Refused(f"LoRA task {lora.task_id}: the engine cannot find its folder") from None


def _lengths(request: Request) -> dict[str, Any]:
    ends = [word[0] for word in request.stop_words if len(word) == 1]
    return {
        "end_id": request.end_id,
        "max_tokens": request.max_tokens,
        "n": request.num_return_sequences,
        "detokenize": False,
        # What a stop word is, callers are to see: in TensorRT-LLM's contract it is kept.
        "include_stop_str_in_output": True,
        **({"min_tokens": request.min_tokens} if request.min_tokens else {}),
        **({"stop_token_ids": ends} if ends else {}),
    }


def _sampling(request: Request) -> dict[str, Any]:
    wanted: dict[str, Any] = {"top_k": 1}
    if request.is_sampled:
        wanted = {"temperature": request.temperature, "top_k": max(request.top_k, 0)}
        if request.top_p > 0:
            wanted["top_p"] = min(request.top_p, 1.0)
    wanted["seed"] = request.seed
    for name, neutral in _PENALTIES.items():
        if (value := getattr(request, name)) != neutral:
            wanted[name] = value
    if request.bad_words:
        wanted["bad_token_ids"] = [word[0] for word in request.bad_words]
    if request.embedding_bias is not None:
        wanted["embedding_bias"] = request.embedding_bias
    if request.guide is not None:
        wanted["guided_decoding"] = _guide(request.guide)
    return wanted


def _check_penalties(request: Request) -> None:
    reason = "this release's sampler has none; sampler_type: TRTLLMSampler has"
    for name, neutral in _PENALTIES.items():
        if getattr(request, name) != neutral:
            raise UnsupportedTensor(name, reason)
    if request.bad_words:
        raise UnsupportedTensor("bad_words_list", reason)


_PENALTIES = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def _outputs(request: Request) -> dict[str, Any]:
    """At least one log probability, for 0 of them is none before 1.3.0rc26."""
    wanted: dict[str, Any] = {}
    if request.return_log_probs or request.num_top_log_probs:
        wanted["logprobs"] = max(1, request.num_top_log_probs)
    if request.num_prompt_log_probs >= 0:
        wanted["prompt_logprobs"] = max(1, request.num_prompt_log_probs)
    return wanted


def _guide(guide: Guide) -> Any:
    from tensorrt_llm.sampling_params import GuidedDecodingParams

    if guide.kind == "json":
        return GuidedDecodingParams(json_object=True)
    if guide.kind == "json_schema":
        return GuidedDecodingParams(json=guide.text)
    if guide.kind == "regex":
        return GuidedDecodingParams(regex=guide.text)
    return GuidedDecodingParams(grammar=guide.text)
