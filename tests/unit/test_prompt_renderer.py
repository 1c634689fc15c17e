"""Prompts from conversations, raw text and ids, and what is kept of them."""

import asyncio
import random
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.errors import ContextTooLong, InvalidRequest
from gateway.output.vocabulary import Vocabulary
from gateway.prompt.cache import text_cache
from gateway.prompt.context import Context, check_context
from gateway.prompt.conversation import Conversation, Message, Role, Tool
from gateway.prompt.renderer import PromptRenderer, Reading
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer
from gateway.prompt.widths import widths_of
from tests.unit.conversations import CHAT


@pytest.fixture
def renderer(llama3: Tokenizer) -> PromptRenderer:
    return PromptRenderer(llama3, template_for(llama3))


class RecordingTokenizer(Tokenizer):
    """Notes what is encoded, and on which thread."""

    @cached_property
    def record(self) -> list[tuple[str, str]]:
        return []

    def encode(self, text: str) -> list[int]:
        self.record.append((text, threading.current_thread().name))
        return super().encode(text)


@pytest.fixture
def recording(llama3: Tokenizer) -> RecordingTokenizer:
    return RecordingTokenizer(**{part.name: getattr(llama3, part.name) for part in fields(llama3)})


def test_the_text_of_a_prompt_is_what_its_ids_spell(renderer: PromptRenderer) -> None:
    prompt = renderer.render(Conversation(CHAT))

    assert prompt.text == renderer.tokenizer.decode(prompt.token_ids, skip_special=False)
    assert prompt.text.count("<|begin_of_text|>") == 1


def test_a_growing_conversation_only_encodes_what_is_new(recording: RecordingTokenizer) -> None:
    renderer = PromptRenderer(recording, template_for(recording))
    renderer.render(Conversation(CHAT))
    recording.record.clear()

    renderer.render(
        Conversation((*CHAT, Message(Role.ASSISTANT, "No."), Message(Role.USER, "Sun?")))
    )

    assert [text for text, _ in recording.record] == ["No.", "Sun?"]


def test_a_prompt_is_the_same_with_and_without_its_cache(llama3: Tokenizer) -> None:
    chance = random.Random(1)
    template = template_for(llama3)
    kept = PromptRenderer(llama3, template, cache_bytes=2000)
    fresh = PromptRenderer(llama3, template, cache_bytes=0)
    words = ["a", "b\n", "👍", "<|eot_id|>", " long" * 50]
    talks = [
        Conversation((Message(Role.USER, "".join(chance.choices(words, k=3))),)) for _ in range(200)
    ]

    assert [kept.render(talk) for talk in talks] == [fresh.render(talk) for talk in talks]


async def test_long_new_text_is_encoded_off_the_event_loop(recording: RecordingTokenizer) -> None:
    renderer = PromptRenderer(recording, template_for(recording))
    long = Conversation((Message(Role.USER, "word " * 10_000),))

    prompt = await renderer.render_async(long)

    threads = {thread for text, thread in recording.record if len(text) > 1000}
    assert len(threads) == 1
    assert threads.pop().startswith("encode")
    assert prompt == renderer.render(long)
    renderer.close()


async def test_known_and_short_text_stays_on_the_event_loop(recording: RecordingTokenizer) -> None:
    renderer = PromptRenderer(recording, template_for(recording))
    here = threading.current_thread().name
    long = Conversation((Message(Role.USER, "word " * 10_000),))
    renderer.render(long)

    await renderer.render_async(replace(long, messages=(*long.messages, *CHAT * 50)))

    assert {thread for _, thread in recording.record} == {here}


async def test_the_event_loop_goes_on_while_a_long_prompt_is_encoded(
    renderer: PromptRenderer,
) -> None:
    turns = 0
    encoding = asyncio.create_task(renderer.encode_text_async("The quick brown fox. " * 20_000))

    while not encoding.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 10


def test_threads_may_share_a_renderer(llama3: Tokenizer) -> None:
    renderer = PromptRenderer(llama3, template_for(llama3), cache_bytes=3000)
    talks = [Conversation((Message(Role.USER, f"Number {n % 20}"),)) for n in range(400)]
    alone = [renderer.render(talk) for talk in talks]

    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(renderer.render, talks))

    assert together == alone


def test_raw_text_opens_with_bos_once_and_spells_no_control_token(renderer: PromptRenderer) -> None:
    plain = renderer.encode_text("Hi")
    spelled = renderer.encode_text("<|begin_of_text|>Hi")

    assert plain.token_ids == (128000, 13347)
    assert plain.text == "<|begin_of_text|>Hi"
    assert [token_id for token_id in spelled.token_ids if token_id >= 128000] == [128000]


@pytest.mark.parametrize("text", ["Hi<|eot_id|>", "<|begin_of_text|>Hi<|eot_id|>"])
def test_raw_text_may_hold_control_tokens_when_asked(renderer: PromptRenderer, text: str) -> None:
    prompt = renderer.encode_text(text, Reading(parse_special=True))

    assert prompt.token_ids == (128000, 13347, 128009)
    assert prompt.text == "<|begin_of_text|>Hi<|eot_id|>"


def test_raw_text_is_not_opened_where_that_is_asked(renderer: PromptRenderer) -> None:
    assert renderer.encode_text("Hi", Reading(add_special=False)).token_ids == (13347,)


async def test_control_tokens_that_cannot_fit_are_counted_and_not_collected(
    renderer: PromptRenderer,
) -> None:
    with pytest.raises(ContextTooLong):
        await renderer.encode_text_async(
            "<|eot_id|>" * 10**6,
            Reading(parse_special=True),
            context=Context(8192, "prompt"),
        )


@pytest.mark.parametrize("parse_special", [False, True])
def test_empty_text_is_bos_alone(renderer: PromptRenderer, parse_special: bool) -> None:
    assert renderer.encode_text("", Reading(parse_special)).token_ids == (128000,)


def test_raw_text_has_no_bos_where_the_model_has_none(chatml_folder: Path) -> None:
    chatml = Tokenizer.load(chatml_folder)
    renderer = PromptRenderer(chatml, template_for(chatml))

    assert renderer.encode_text("the").token_ids == tuple(chatml.encode("the"))


def test_ids_are_taken_as_they_are(renderer: PromptRenderer) -> None:
    prompt = renderer.from_ids([13347, 128009, 128255])

    assert prompt.token_ids == (13347, 128009, 128255)
    assert prompt.text == "Hi<|eot_id|><|reserved_special_token_247|>"


@pytest.mark.parametrize("token_id", [-1, 128256])
def test_ids_out_of_the_vocabulary_are_refused(renderer: PromptRenderer, token_id: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{token_id} .*128256") as refused:
        renderer.from_ids([1, token_id])

    assert refused.value.param == "prompt"


@pytest.mark.parametrize("name", ["llama-3.1", "tokenizer"], ids=["built-in", "jinja"])
def test_schemas_nested_too_deeply_are_refused(llama3: Tokenizer, name: str) -> None:
    deep: dict[str, Any] = {}
    for _ in range(200_000):
        deep = {"a": deep}
    conversation = Conversation(CHAT, tools=(Tool("f", parameters=deep),))

    with pytest.raises(InvalidRequest, match="too deeply"):
        PromptRenderer(llama3, template_for(llama3, name)).render(conversation)


def test_a_cache_keeps_to_its_bytes_and_drops_what_was_unused_for_longest() -> None:
    cache = text_cache(1500)
    for text in ("a", "b", "c"):
        cache.put(text, array("I", [1]))
    cache.get("a")
    for text in "defg":
        cache.put(text, array("I", range(20)))
        cache.get("a")

    assert cache.size_bytes <= 1500
    assert list(cache.get("a") or ()) == [1]
    assert "b" not in cache
    assert cache.get("b") is None


def test_a_cache_does_not_take_what_exceeds_it() -> None:
    cache = text_cache(1500)
    cache.put("a", array("I", [1]))

    cache.put("long", array("I", range(1000)))

    assert "long" not in cache
    assert "a" in cache


def test_a_text_put_twice_counts_once() -> None:
    cache = text_cache(1500)
    cache.put("a", array("I", [1]))
    size = cache.size_bytes

    cache.put("a", array("I", [1]))

    assert cache.size_bytes == size


@pytest.mark.parametrize(
    ("prompt", "asked", "given"), [(10, None, 90), (10, 20, 20), (10, 90, 90), (99, None, 1)]
)
def test_an_answer_may_fill_what_the_prompt_leaves(
    prompt: int, asked: int | None, given: int
) -> None:
    assert check_context(prompt, asked, 100) == given


@pytest.mark.parametrize(
    ("prompt", "asked", "numbers"),
    [(100, None, ["100", "100"]), (150, 1, ["100", "150"]), (60, 41, ["100", "101", "60", "41"])],
    ids=["prompt fills it", "prompt exceeds it", "answer exceeds it"],
)
def test_what_exceeds_the_context_is_refused_with_the_numbers(
    prompt: int, asked: int | None, numbers: list[str]
) -> None:
    with pytest.raises(ContextTooLong) as refused:
        check_context(prompt, asked, 100)

    assert refused.value.code == "context_length_exceeded"
    assert all(number in refused.value.message for number in numbers)


async def test_text_that_cannot_fit_is_refused_without_being_encoded(
    recording: RecordingTokenizer,
) -> None:
    widths = widths_of(recording.backend, Vocabulary.from_backend(recording.backend).tokens)
    renderer = PromptRenderer(recording, template_for(recording), widths=widths)
    recording.record.clear()
    long = Conversation((Message(Role.USER, "word " * 10**6),) * 2)

    with pytest.raises(ContextTooLong, match=r"messages resulted in at least 195\d{3} tokens"):
        await renderer.render_async(long, Context(8192, "messages"))
    with pytest.raises(ContextTooLong, match="prompt resulted in at least 97561 tokens"):
        await renderer.encode_text_async("word " * 10**6, context=Context(8192, "prompt"))

    assert recording.record == []
    renderer.close()


def test_what_is_too_long_already_is_not_encoded_to_its_end(recording: RecordingTokenizer) -> None:
    renderer = PromptRenderer(recording, template_for(recording))
    talk = Conversation(tuple(Message(Role.USER, f"word {n}") for n in range(1000)))
    recording.record.clear()

    with pytest.raises(ContextTooLong, match=r"at least 10\d tokens"):
        renderer.render(talk, Context(100, "messages"))

    assert len(recording.record) < 50


def test_too_many_ids_are_refused_before_any_is_looked_at(renderer: PromptRenderer) -> None:
    with pytest.raises(ContextTooLong, match="at least 101 tokens"):
        renderer.from_ids([-1] * 101, context=Context(100, "prompt"))


def test_ids_are_not_decoded_for_engines_that_take_ids(renderer: PromptRenderer) -> None:
    assert renderer.from_ids([13347], with_text=False).text == ""
