"""What a RequestOutput of the LLM API tells, as progress. Knows no engine.

Source: tensorrt_llm/executor/result.py of NVIDIA/TensorRT-LLM, 1.2 and 1.3.0rc29.
"""

from collections.abc import Sequence
from typing import Any

from backend.contract import Request
from backend.engine import Progress, PromptLogProbs, Tops


class EndedByEngine(RuntimeError):
    """The engine ended the request for a reason of its own."""


class Reader:
    """Reads one request's output again and again, each time what is new.

    The output's own differences are of its last response, which is of one sequence alone: those of
    the others would come twice.
    """

    def __init__(self, keys: Sequence[int], request: Request, tokens_per_block: int) -> None:
        self._request = request
        self._sequences = [_Sequence(key) for key in keys]
        self._tokens_per_block = tokens_per_block
        self._has_prompt = request.num_prompt_log_probs < 0

    def read(self, output: Any) -> list[Progress]:
        """What each sequence gained. Raises EndedByEngine."""
        reused = output.cached_tokens // self._tokens_per_block
        gained: list[Progress] = []
        for sequence, completion in zip(self._sequences, output.outputs, strict=True):
            progress = sequence.read(completion, self._request, reused, output.finished)
            if progress is not None:
                gained.append(self._with_prompt(progress, output))
        return gained

    def _with_prompt(self, progress: Progress, output: Any) -> Progress:
        if self._has_prompt:
            return progress
        self._has_prompt = True
        told = output.outputs[0].prompt_logprobs
        return progress._replace(prompt=prompt_log_probs(self._request, told))


class _Sequence:
    def __init__(self, key: int) -> None:
        self._key = key
        self._num_read = 0
        self._is_finished = False

    def read(
        self, completion: Any, request: Request, reused_blocks: int, is_last: bool
    ) -> Progress | None:
        """What it gained, None where that is nothing."""
        reason = completion.finish_reason
        if reason not in (None, "stop", "length"):
            raise EndedByEngine(f"the engine ended the request: {reason}")
        ids = completion.token_ids[self._num_read :]
        is_finished = is_last or reason is not None
        if self._is_finished or not (ids or is_finished):
            return None
        told = completion.logprobs[self._num_read :] if completion.logprobs else []
        self._num_read += len(ids)
        self._is_finished = is_finished
        log_probs, tops = [], []
        for token, entry in zip(ids, told, strict=False):
            log_probs.append(entry[token].logprob)
            tops.append(_tops(entry, request.num_top_log_probs))
        return Progress(
            self._key, ids, log_probs, is_finished, reused_blocks=reused_blocks, tops=tops
        )


def prompt_log_probs(request: Request, told: Sequence[Any]) -> PromptLogProbs:
    """Those of each token of the prompt but the first, from what each place says of the next.

    Raises EndedByEngine where places are missing: those of a prefix read from the KV cache.
    """
    following = request.input_ids[1:]
    if len(told) < len(following) or any(
        token not in entry for token, entry in zip(following, told, strict=False)
    ):
        raise EndedByEngine("the engine did not tell the log probability of every prompt token")
    pairs = list(zip(following, told, strict=False))
    return PromptLogProbs(
        [entry[token].logprob for token, entry in pairs],
        [_tops(entry, request.num_prompt_log_probs) for _, entry in pairs],
    )


def _tops(entry: Any, count: int) -> Tops:
    """The likeliest of an entry, which may hold one more: the token that was chosen."""
    ranked = sorted(entry.items(), key=lambda item: -item[1].logprob)
    return [(token, told.logprob) for token, told in ranked[:count]]
