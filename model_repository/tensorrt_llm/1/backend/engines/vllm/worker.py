"""The engine's process: vLLM's AsyncLLM, told what to generate over a socket.

    python -m backend.engines.vllm.worker FD ARGUMENTS

ARGUMENTS is JSON, those of vLLM's AsyncEngineArgs. It ends when the socket does. Names are those
of vLLM 0.26.0: vllm/v1/engine/async_llm.py, vllm/sampling_params.py, vllm/outputs.py.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from backend.engines.vllm import wire

_CHUNK_BYTES = 1 << 18
# Seeds are held as INT64 (vllm/v1/worker/gpu/sample/states.py), and -1 stands for none.
_SEED_MASK = 2**63 - 1


def load(arguments: dict[str, Any]) -> Any:
    """The engine, an AsyncLLM. Raises what vLLM raises."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))


def sampling_params(start: wire.Start) -> Any:
    """What vLLM calls SamplingParams: deltas of token ids, never text.

    Only `end_ids` end a sequence, not the model's own end tokens (`ignore_eos`).
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=start.temperature,
        top_p=start.top_p,
        top_k=start.top_k,
        repetition_penalty=start.repetition_penalty,
        presence_penalty=start.presence_penalty,
        frequency_penalty=start.frequency_penalty,
        seed=start.seed & _SEED_MASK,
        max_tokens=start.max_tokens,
        min_tokens=start.min_tokens,
        stop_token_ids=list(start.end_ids),
        ignore_eos=True,
        logprobs=None if start.num_log_probs < 0 else start.num_log_probs,
        prompt_logprobs=None if start.num_prompt_log_probs < 0 else start.num_prompt_log_probs,
        logit_bias=dict(start.bias) or None,
        # vLLM's own field for words as ids: those in text would be encoded in two guessed ways.
        _bad_words_token_ids=[list(word) for word in start.bad_words] or None,
        structured_outputs=_structured_outputs(start.guide_kind, start.guide),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def lora_request(start: wire.Start) -> Any:
    """What vLLM calls a LoRARequest; None for the model itself."""
    if not start.lora_id:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(f"adapter-{start.lora_id}", start.lora_id, start.lora_path)


def _structured_outputs(kind: str, guide: str) -> Any:
    if not kind:
        return None
    from vllm.sampling_params import StructuredOutputsParams

    if kind == "json":
        return StructuredOutputsParams(json_object=True)
    name = {"json_schema": "json", "regex": "regex", "ebnf_grammar": "grammar"}[kind]
    return StructuredOutputsParams(**{name: guide})


class Answers:
    """Generates sequences as they are asked for; all that a step gave them leaves in one frame.

    vLLM's output handler wakes every sequence of a step before any runs, so that what they tell
    comes together before the flush that the first of them calls for.
    """

    def __init__(self, engine: Any, transport: asyncio.WriteTransport) -> None:
        self._engine = engine
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._gained: list[wire.Gained] = []

    def take(self, message: wire.ToEngine) -> None:
        """Do as a message says."""
        if isinstance(message, wire.Stop):
            if task := self._tasks.pop(message.key, None):
                task.cancel()
            return
        task = self._loop.create_task(self._answer(message))
        self._tasks[message.key] = task

    async def _answer(self, start: wire.Start) -> None:
        try:
            params = sampling_params(start)
            prompt = {"prompt_token_ids": list(start.prompt)}
            adapter = lora_request(start)
            outputs = self._engine.generate(prompt, params, str(start.key), lora_request=adapter)
            async for output in outputs:
                self._tell(_gained(start, output))
        except ValueError as error:
            self._tell(wire.Gained(start.key, [], [], True, -1, str(error), True))
        except Exception as error:
            self._tell(wire.Gained(start.key, [], [], True, -1, str(error) or repr(error)))
        finally:
            self._tasks.pop(start.key, None)

    def _tell(self, gained: wire.Gained) -> None:
        if not self._gained:
            self._loop.call_soon(self._flush)
        self._gained.append(gained)

    def _flush(self) -> None:
        gained, self._gained = self._gained, []
        self._transport.write(wire.frame(gained))


def _gained(start: wire.Start, output: Any) -> wire.Gained:
    """What a RequestOutput tells; the engine ended it itself for `abort` and `error`."""
    (completion,) = output.outputs
    ids = list(completion.token_ids)
    reason = completion.finish_reason
    log_probs: list[float] = []
    tops: list[wire.Tops] = []
    if start.num_log_probs >= 0 and completion.logprobs:
        log_probs, tops = _log_probs(ids, completion.logprobs, start.num_log_probs)
    prompt = None
    if start.num_prompt_log_probs >= 0 and output.prompt_logprobs:
        told = output.prompt_logprobs[1:]
        prompt = _log_probs(start.prompt[1:], told, start.num_prompt_log_probs)
    error = f"vLLM ended the request: {reason}" if reason in ("abort", "error") else ""
    cached = -1 if output.num_cached_tokens is None else output.num_cached_tokens
    return wire.Gained(
        start.key, ids, log_probs, reason is not None, cached, error, tops=tops, prompt=prompt
    )


def _log_probs(
    ids: Sequence[int], told: Sequence[Mapping[int, Any]], num_tops: int
) -> tuple[list[float], list[wire.Tops]]:
    """The log of each token, and the likeliest at its place; vLLM tells both in one (outputs.py),
    by token, with the token itself though it is not among the likeliest."""
    places = list(zip(ids, told, strict=True))
    log_probs = [place[token].logprob for token, place in places]
    tops = []
    for _, place in places if num_tops > 0 else ():
        ranked = sorted(((token, one.logprob) for token, one in place.items()), key=_likeliest)
        tops.append(ranked[:num_tops])
    return log_probs, tops


def _likeliest(top: tuple[int, float]) -> float:
    return -top[1]


async def serve(connection: socket.socket, arguments: dict[str, Any]) -> None:
    """Load the engine, and answer until the other side closes the connection, or vLLM dies."""
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        engine = load(arguments)
    except Exception as error:
        writer.write(wire.frame([wire.Failed(f"{type(error).__name__}: {error}")]))
        await writer.drain()
        return
    try:
        # It ends when the engine's core has died (AsyncLLM._run_output_handler).
        engine.output_handler.add_done_callback(lambda _: writer.close())
        writer.write(wire.frame([_ready(engine)]))
        await _converse(engine, reader, writer)
    finally:
        engine.shutdown()


def _ready(engine: Any) -> wire.Ready:
    config = engine.vllm_config
    model = config.model_config
    return wire.Ready(model.max_model_len, config.cache_config.block_size, model.get_vocab_size())


async def _converse(
    engine: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    frames, answers = wire.Frames(), Answers(engine, writer.transport)
    while data := await reader.read(_CHUNK_BYTES):
        for message in frames.feed(data, wire.to_engine):
            answers.take(message)


def main() -> None:
    """Serve on the socket that the parent left open."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(connection.fileno(), False)
    asyncio.run(serve(connection, json.loads(sys.argv[2])))


if __name__ == "__main__":
    main()
