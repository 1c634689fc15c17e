"""What a request has become, response by response.

Source: tensorrt_llm/executor/result.py of 1.3.0rc29 (c76f4a8): `_handle_sequence`,
`_handle_response`, `_aresult_step`, `abort`. A response is of one sequence; only that one's
differences are new. A sequence has a reason once it has ended, all have one when the request is
done; a stop word is cut off unless it is to be included. An error is raised where it is read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tensorrt_llm.executor.utils import RequestError
from tensorrt_llm.sampling_params import SamplingParams


@dataclass(slots=True)
class Logprob:
    """Of one token, and its place among all."""

    logprob: float
    rank: int | None = None


TokenLogprobs = list[dict[int, Logprob]]


@dataclass(slots=True)
class CompletionOutput:
    """One sequence of a request."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: TokenLogprobs = field(default_factory=list)
    prompt_logprobs: TokenLogprobs = field(default_factory=list)
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    _last_token_ids_len: int = field(default=0, init=False, repr=False)

    @property
    def token_ids_diff(self) -> list[int]:
        """What the last response brought, if it was of this sequence."""
        return self.token_ids[self._last_token_ids_len :]


@dataclass
class Response:
    """What a step of the executor says of one sequence."""

    sequence_index: int
    token_ids: list[int]
    log_probs: TokenLogprobs
    finish_reason: str | None
    is_final: bool
    cached_tokens: int
    prompt_logprobs: TokenLogprobs | None = None
    error_msg: str | None = None


class GenerationResult:
    """Read with `async for`, or awaited, on the event loop that it was made on."""

    def __init__(
        self, request_id: int, sampling_params: SamplingParams, abort: Callable[[int], None]
    ) -> None:
        self.request_id = request_id
        self.sampling_params = sampling_params
        self.cached_tokens = 0
        self._loop = asyncio.get_running_loop()
        self._responses: asyncio.Queue[Response] = asyncio.Queue()
        self._outputs = [CompletionOutput(at) for at in range(sampling_params.best_of or 1)]
        self._abort = abort
        self._aborted = False
        self._done = False

    @property
    def outputs(self) -> list[CompletionOutput]:
        """Those that are returned."""
        return self._outputs[: self.sampling_params.n]

    @property
    def finished(self) -> bool:
        """Whether the whole request is."""
        return self._done

    def abort(self) -> None:
        """Have the executor end it: a last response will say that it was cancelled."""
        self._abort(self.request_id)
        self._aborted = True

    def aborted(self) -> bool:
        """Whether `abort` was called."""
        return self._aborted

    def put(self, response: Response) -> None:
        """Hand over a response, from any thread."""
        self._loop.call_soon_threadsafe(self._responses.put_nowait, response)

    def __aiter__(self) -> "GenerationResult":
        return self

    async def __anext__(self) -> "GenerationResult":
        if self._done:
            raise StopAsyncIteration
        self._handle_response(await self._responses.get())
        return self

    def _handle_response(self, response: Response) -> None:
        if response.error_msg is not None:
            self._done = True
            raise RequestError(response.error_msg)
        self._done = response.is_final
        self.cached_tokens = response.cached_tokens
        self._handle_sequence(response)

    def _handle_sequence(self, response: Response) -> None:
        output = self._outputs[response.sequence_index]
        output._last_token_ids_len = len(output.token_ids)
        output.token_ids.extend(response.token_ids)
        output.logprobs += response.log_probs
        if self.sampling_params.logprobs is not None:
            assert len(output.logprobs) == len(output.token_ids)
        if response.prompt_logprobs is not None:
            output.prompt_logprobs = response.prompt_logprobs
        if response.finish_reason == "stop_words":
            output.finish_reason, output.stop_reason = "stop", output.token_ids[-1]
            if not self.sampling_params.include_stop_str_in_output:
                del output.token_ids[-1:], output.logprobs[-1:]
        elif response.finish_reason is not None:
            output.finish_reason = response.finish_reason


def text_of(error: Any) -> str:
    """An error's text, as responses carry it."""
    return str(error) or type(error).__name__
