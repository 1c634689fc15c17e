"""From options to a report: which endpoint, which model, which workload, then the sweep."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvloop

from gateway.bench.endpoint import connect
from gateway.bench.figures import Target
from gateway.bench.progress import SweepBars
from gateway.bench.report import Report
from gateway.bench.sweep import Plan, first_model, sweep, words_for
from gateway.bench.workload import QUESTIONS, Workload, read_prompts, words


@dataclass(frozen=True)
class Options:
    """What a user asked for. `prompt_tokens` 0 means prompts from the file.

    A seed that was used before draws prompts that the endpoint may have in its prefix cache.
    """

    url: str
    model: str = ""
    concurrencies: Sequence[int] = (1, 2, 4, 8, 16, 32)
    requests: int = 0
    prompts: Path = QUESTIONS
    prompt_tokens: int = 0
    seed: int = 0
    max_tokens: int = 128
    ignore_eos: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    target: Target = field(default_factory=Target)
    dollars_per_hour: float = 0.0
    key: str = field(default="", repr=False)
    key_name: str = "OPENAI_API_KEY"

    @property
    def fields(self) -> dict[str, Any]:
        """What every request says besides model, messages and length."""
        return {"ignore_eos": True, **self.extra} if self.ignore_eos else self.extra

    def num_requests(self, concurrency: int) -> int:
        """Return how many requests are sent at a concurrency."""
        return self.requests or max(8, 4 * concurrency)


def run(options: Options, report: Report) -> None:
    """Do what `measure` does in an event loop of its own."""
    uvloop.run(measure(options, report))


def report_for(options: Options) -> Report:
    """Return an empty report of what is about to run."""
    return Report(
        url=options.url,
        model=options.model,
        workload=_description(options),
        target=options.target,
        dollars_per_hour=options.dollars_per_hour,
    )


async def measure(options: Options, report: Report) -> None:
    """Sweep the endpoint and fill the report, level by level; raise BenchError if none can start.

    Interrupted, it leaves in the report what it had found.
    """
    workload = Workload(read_prompts(options.prompts), options.max_tokens, options.fields)
    async with connect(options.url, options.key, options.key_name) as endpoint:
        report.url = endpoint.url
        report.model = model = options.model or await first_model(endpoint)
        await endpoint.try_out(workload.probe(model))
        if options.prompt_tokens:
            count = await words_for(endpoint, model, workload, options.prompt_tokens)
            workload = replace(workload, prompt=words(count, options.seed))
        plan = Plan(workload, options.concurrencies, options.num_requests, options.target)
        with SweepBars() as bars:
            async for level in sweep(endpoint, model, plan, bars.moved):
                report.levels.append(level)
                bars.finished(level)


def _description(options: Options) -> str:
    prompts = options.prompts.name
    if options.prompt_tokens:
        prompts = f"random words, {options.prompt_tokens} tokens, seed {options.seed}"
    ends = "exactly" if options.ignore_eos else "at most"
    return f"{prompts}; answers of {ends} {options.max_tokens} tokens"
