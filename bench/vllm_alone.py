"""vLLM without this project: AsyncLLM in its own process, then vLLM's own OpenAI server on it.

Both over one engine, so that it is loaded once and is the same:

    VLLM_PYTHON -P bench/vllm_alone.py --json alone.json --concurrency 1,32,128 \
        -- --model DIR --max-model-len 4096 ...

What follows -- are options of `vllm serve`. Prompts are random token ids, answers run to their
length, and all of a level begin at once. Knows nothing of the gateway; names are vLLM 0.26's.
"""

import argparse
import asyncio
import json
import random
import sys
import time
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any


async def stream(engine: Any, params: Any, num_prompt: int) -> list[tuple[float, int]]:
    """Return when tokens came after the start, in seconds, and how many."""
    prompt = {"prompt_token_ids": [random.randrange(1000, 40000) for _ in range(num_prompt)]}
    started, arrivals = time.perf_counter(), []
    async for output in engine.generate(prompt, params, uuid.uuid4().hex):
        if count := len(output.outputs[0].token_ids):
            arrivals.append((time.perf_counter() - started, count))
    return arrivals


async def level(engine: Any, concurrency: int, num_prompt: int, num_output: int) -> dict[str, Any]:
    """Return the figures of so many streams at once."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        max_tokens=num_output,
        ignore_eos=True,
        temperature=0.8,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )
    cpu, started = time.process_time(), time.perf_counter()
    streams = [stream(engine, params, num_prompt) for _ in range(concurrency)]
    answers = await asyncio.gather(*streams)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return figures(answers, seconds) | {"concurrency": concurrency, "cpu_s": cpu}


def figures(answers: list[list[tuple[float, int]]], seconds: float) -> dict[str, Any]:
    """Return tokens/s, times to the first token and gaps, in milliseconds."""
    tokens = sum(count for answer in answers for _, count in answer)
    firsts = sorted(answer[0][0] for answer in answers)
    gaps = sorted(
        later - before for answer in answers for (before, _), (later, _) in pairwise(answer)
    )
    return {
        "tokens": tokens,
        "messages": sum(len(answer) for answer in answers),
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "ttft_ms": quantiles(firsts),
        "itl_ms": quantiles(gaps),
    }


def quantiles(values: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile of sorted seconds, in milliseconds."""
    if not values:
        return {}
    at = {name: values[int(len(values) * share)] for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {name: 1000 * value for name, value in at.items()}


async def measure_and_serve(options: argparse.Namespace, served: argparse.Namespace) -> None:
    """Measure each level, write the figures, then serve until killed."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.openai.api_server import build_and_serve, setup_server
    from vllm.v1.engine.async_llm import AsyncLLM

    engine = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(served))
    await level(engine, 8, options.prompt_tokens, 32)
    print("loaded", flush=True)
    if options.wait_for:
        await asyncio.to_thread(wait_for, Path(options.wait_for))
    levels = []
    for text in options.concurrency.split(","):
        levels.append(await level(engine, int(text), options.prompt_tokens, options.output_tokens))
        print(json.dumps(levels[-1]), flush=True)
        await asyncio.to_thread(options.json.write_text, json.dumps({"levels": levels}, indent=1))
    address, listener = setup_server(served, reuse_port=False)
    await (await build_and_serve(engine, address, listener, served))


def wait_for(path: Path) -> None:
    """Return when there is such a file."""
    while not path.exists():
        time.sleep(0.2)


def main() -> None:
    """Parse both sets of options."""
    at = sys.argv.index("--")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--json", type=Path, default=Path("alone.json"))
    parser.add_argument("--concurrency", default="1,32,128")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--wait-for", default="", help="A file whose coming begins the run.")
    options = parser.parse_args(sys.argv[1:at])
    from vllm.entrypoints.openai.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    served = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[at + 1 :])
    served.model = getattr(served, "model_tag", None) or served.model
    asyncio.run(measure_and_serve(options, served))


if __name__ == "__main__":
    main()
