"""A text completion on OpenAI's wire: one or several prompts, as chunks or one whole answer."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from secrets import token_hex

import orjson

from gateway.errors import GatewayError
from gateway.generation import Finished, FinishReason, Generation, Item, PromptLogprobs, Usage
from gateway.openai.chunks import DONE, error_frame
from gateway.openai.completion_task import CompletionTask
from gateway.openai.draft import check_echo
from gateway.openai.echoed import by_text, check_told, prompt_columns
from gateway.openai.merge import merged
from gateway.openai.shapes import JsonObject, usage_object
from gateway.output.answer import Answer
from gateway.output.events import ChoiceEnd, Content, Event, StopCause, TokenLogprob
from gateway.reply import Reply


async def completion_replies(task: CompletionTask) -> list[Reply]:
    """Compile, render every prompt, return the answers to come; nothing is generated yet.

    Raises RateLimited where limits do not let them come.
    """
    is_silent = task.draft.max_tokens == 0
    engine = _Silence() if is_silent else task.model.engine
    lengths = None if is_silent else task.model.lengths
    guide, replies = await task.draft.guide(), list[Reply]()
    for given in task.prompts:
        generation = task.draft.complete(await task.render(given), guide)
        answer, echo = Answer(task.spec, task.model.vocabulary), await task.echoed(given)
        tells_prompt = generation.num_prompt >= 0
        if tells_prompt:
            check_told(len(generation.prompt.token_ids), task.num_candidates)
        replies.append(
            Reply(engine, generation, answer, tells_prompt=tells_prompt, echo=echo, lengths=lengths)
        )
        if len(task.prompts) > 1:
            await asyncio.sleep(0)  # many short prompts together are long
    check_echo([reply.echo for reply in replies], task.num_candidates)
    await task.model.admit(replies)
    return replies


class CompletionFrames:
    """The frames of a completion stream, the prompts' answers interleaved by index."""

    def __init__(self, task: CompletionTask, replies: Sequence[Reply]) -> None:
        self._replies = replies
        self._usage = task.stream_usage
        self._before = b"data: " + orjson.dumps(completion_head(task))[:-1] + b',"choices":['
        self._after = b'],"usage":null}\n\n' if self._usage.at_end else b"]}\n\n"
        self._candidates = candidates_of(task, replies)
        self.steps = merged([reply.steps() for reply in replies])

    def render(self, step: tuple[int, list[Event]]) -> bytes:
        number, events = step
        after = self._told_usage() if self._usage.always else self._after
        changes = self._candidates[number].changes(events)
        return b"".join([self._before + orjson.dumps(choice) + after for choice in changes])

    def end(self) -> bytes:
        return (self._before + self._told_usage() if self._usage.at_end else b"") + DONE

    def fail(self, error: GatewayError) -> bytes:
        return error_frame(error)

    def _told_usage(self) -> bytes:
        usage = usage_object(total_usage(self._replies))
        return b'],"usage":' + orjson.dumps(usage) + b"}\n\n"


async def collect_completion(task: CompletionTask, replies: Sequence[Reply]) -> JsonObject:
    """Return the whole answer as CreateCompletionResponse, choices in the order of prompts."""
    candidates = candidates_of(task, replies)
    async for number, events in merged([reply.steps() for reply in replies]):
        candidates[number].add(events)
    choices = [choice for of_prompt in candidates for choice in of_prompt.best()]
    return {
        **completion_head(task),
        "choices": choices,
        "usage": usage_object(total_usage(replies)),
    }


def completion_head(task: CompletionTask) -> JsonObject:
    """Return what all of an answer's chunks, or the whole answer, begin with."""
    return {
        "id": f"cmpl-{token_hex(16)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": task.model.id,
        "system_fingerprint": task.model.fingerprint,
    }


def total_usage(replies: Sequence[Reply]) -> Usage:
    """Return the usage of all prompts together."""
    usages = [reply.usage for reply in replies]
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in usages),
        completion_tokens=sum(usage.completion_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
    )


class _Silence:
    """Generates nothing, for a prompt that is only to be echoed."""

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        yield Finished((FinishReason.LENGTH,) * generation.num_sequences)


def candidates_of(task: CompletionTask, replies: Sequence[Reply]) -> list["Candidates"]:
    """Return the answers to every prompt, nothing in them yet."""
    return [
        Candidates(task, number, reply.echo, reply.prompt_token_ids)
        for number, reply in enumerate(replies)
    ]


class Candidates:
    """The answers to one prompt, each of which begins with `echo`."""

    def __init__(
        self, task: CompletionTask, number: int, echo: str, prompt_token_ids: Sequence[int]
    ) -> None:
        first = number * task.n
        self._n = task.n
        self._task = task
        self._prompt_token_ids = prompt_token_ids
        self._all = [_Choice(first + i, task, echo) for i in range(task.num_candidates)]

    def add(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Content) and event.prompt:
                self._tell(event.prompt)
            self._all[event.index].add(event)

    def _tell(self, told: PromptLogprobs) -> None:
        shows_special = not self._task.spec.skip_special
        vocabulary = self._task.model.vocabulary
        columns = prompt_columns(vocabulary, self._prompt_token_ids, told, shows_special)
        for choice in self._all:
            choice.prompt = columns

    def changes(self, events: list[Event]) -> list[JsonObject]:
        """Return what these events add, one choice object for each choice they touch."""
        self.add(events)
        touched = dict.fromkeys(event.index for event in events)
        return [self._all[index].take() for index in touched]

    def best(self) -> list[JsonObject]:
        """Return the n likeliest per token, numbered anew; those that say nothing come last."""
        ranked = sorted(self._all, key=_Choice.rank, reverse=True)[: self._n]
        first = self._all[0].index
        return [{**choice.take(), "index": first + i} for i, choice in enumerate(ranked)]


@dataclass(slots=True)
class _Choice:
    """One answer: what came since it was last taken."""

    index: int
    task: CompletionTask
    text: str
    logprobs: list[TokenLogprob] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    cause: StopCause | None = None
    offset: int = 0
    num_ranked: int = 0
    sum_logprobs: float = 0.0
    prompt: JsonObject | None = None

    def __post_init__(self) -> None:
        self.offset = len(self.text)

    def rank(self) -> tuple[bool, float]:
        """Return what a better answer has more of: text at all, probability per token."""
        return len(self.text) > self.offset, self.sum_logprobs / max(1, self.num_ranked)

    def add(self, event: Event) -> None:
        if isinstance(event, Content):
            self.text += event.text
            self.token_ids += event.token_ids
            self.logprobs += event.logprobs
            self.num_ranked += len(event.logprobs)
            self.sum_logprobs += sum(entry.logprob for entry in event.logprobs)
        elif isinstance(event, ChoiceEnd):
            self.cause = event.cause

    def take(self) -> JsonObject:
        """Return the choice object for what came since, and begin anew."""
        choice: JsonObject = {
            "index": self.index,
            "text": self.text,
            "logprobs": self._logprobs_object() if self.task.has_logprobs else None,
            "finish_reason": self.cause.value if self.cause else None,
        }
        if self.task.spec.return_token_ids:
            choice["token_ids"] = self.token_ids
        self.text, self.logprobs, self.token_ids = "", [], []
        return choice

    def _logprobs_object(self) -> JsonObject:
        offsets = []
        for entry in self.logprobs:
            offsets.append(self.offset)
            self.offset += len(entry.token)
        columns: JsonObject = {
            "tokens": [entry.token for entry in self.logprobs],
            "token_logprobs": [entry.logprob for entry in self.logprobs],
            "top_logprobs": list(map(by_text, self.logprobs)),
            "text_offset": offsets,
        }
        before, self.prompt = self.prompt, None
        return {name: [*before[name], *columns[name]] for name in columns} if before else columns
