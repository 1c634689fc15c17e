"""TensorRT-LLM's LLM API as an Engine: its PyTorch backend, token ids in and token ids out.

Source: tensorrt_llm/llmapi/llm.py and executor/result.py of NVIDIA/TensorRT-LLM, 1.2 and 1.3.0rc29.
"""

import os
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from backend.async_engine import AsyncEngine
from backend.contract import Refused, Request, Tensors, UnsupportedTensor
from backend.engine import Progress
from backend.engines.llm_api.reading import Reader
from backend.engines.llm_api.sampling import (
    ALLOW_SEVERAL_GREEDY,
    can_penalize,
    check,
    lora_request,
    reads_token_by_token,
    sampling_params,
)

_TOKENS_PER_BLOCK = 32
# _torch/pyexecutor/guided_decoder.py, since 1.2: the request fails, and no other.
_BAD_GUIDE = "Guided decoding error: "


class LlmApiEngine(AsyncEngine):
    """Generates with a `tensorrt_llm.LLM`, whose own scheduler batches what was begun."""

    def __init__(self, llm: Any, *, max_num_seqs: int, vocab_size: int) -> None:
        import tensorrt_llm

        super().__init__(max_num_seqs=max_num_seqs)
        self._llm = llm
        self._vocab_size = vocab_size
        self._can_penalize = can_penalize(
            tensorrt_llm.__version__, str(getattr(llm.args, "sampler_type", "auto"))
        )
        cache = getattr(llm.args, "kv_cache_config", None)
        self._tokens_per_block = getattr(cache, "tokens_per_block", 0) or _TOKENS_PER_BLOCK

    @classmethod
    def load(cls, path: Path, *, max_num_seqs: int, vocab_size: int) -> "LlmApiEngine":
        """The engine that a YAML file of arguments of `tensorrt_llm.LLM` describes.

        A path in it is relative to the file. Raises what the LLM API raises.
        """
        import yaml

        os.environ.setdefault(ALLOW_SEVERAL_GREEDY, "1")
        from tensorrt_llm import LLM

        arguments = yaml.safe_load(path.read_text(encoding="utf-8"))
        beside = path.parent / str(arguments["model"])
        if beside.is_dir():
            arguments["model"] = str(beside)
        return cls(LLM(**arguments), max_num_seqs=max_num_seqs, vocab_size=vocab_size)

    def check(self, tensors: Tensors, request: Request) -> None:
        """Return if the request can be honoured; raise Refused, naming the tensor, if not."""
        if request.num_return_sequences > self._max_num_seqs:
            raise UnsupportedTensor("num_return_sequences", f"at most {self._max_num_seqs}")
        for token in request.input_ids if self._vocab_size else ():
            if not 0 <= token < self._vocab_size:
                raise Refused(f"tensor 'input_ids' holds {token}, which is no token of the model")
        check(request, can_penalize=self._can_penalize)
        try:
            sampling_params(request)
        except ValueError as error:
            raise Refused(f"the engine refuses: {error}") from None
        lora_request(request.lora)

    async def generate(
        self, keys: Sequence[int], request: Request
    ) -> AsyncIterator[list[Progress]]:
        """Yield what the sequences gained; abort the request where it is not read to its end."""
        from tensorrt_llm.executor.utils import RequestError

        output = self._llm.generate_async(
            list(request.input_ids),
            sampling_params=sampling_params(request),
            lora_request=lora_request(request.lora),
            streaming=reads_token_by_token(request),
            cache_salt=_salt(request),
        )
        reader = Reader(keys, request, self._tokens_per_block)
        try:
            async for told in output:
                yield reader.read(told)
        except RequestError as error:
            raise _failure(error) from None
        finally:
            if not output.finished:
                output.abort()

    async def shut_down(self) -> None:
        """End the LLM and its workers."""
        self._llm.shutdown()


def _salt(request: Request) -> str | None:
    """What keeps a prompt that is to be told of from being read from the KV cache."""
    return secrets.token_hex(16) if request.num_prompt_log_probs >= 0 else None


def _failure(error: Exception) -> Exception:
    message = str(error)
    if _BAD_GUIDE in message:
        return Refused("invalid guide: " + message.partition(_BAD_GUIDE)[2])
    return error
