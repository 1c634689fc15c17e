"""The answers of engines that only give text: what they write around them is cut."""

from contextlib import aclosing

import pytest
from msgspec.structs import replace

from gateway.engine import Feature
from gateway.generation import (
    Finished,
    FinishReason,
    Generation,
    Item,
    Prompt,
    TextDelta,
)
from gateway.reply import assistant
from tests.fakes import FakeEngine, stop, text, tiny_model

TURN = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
CUT = Finished((FinishReason.LENGTH,))
MODEL = tiny_model(FakeEngine())
PROMPT = Prompt(tuple(MODEL.tokenizer.encode_with_special(TURN)), TURN)


def said(*texts: str, index: int = 0) -> list[Item]:
    return [TextDelta(index, text, 1) for text in texts]


async def answered(engine: FakeEngine, num_sequences: int = 1) -> tuple[list[str], Finished]:
    """Return the text of each sequence and the end."""
    generation = replace(Generation(PROMPT, 99), num_sequences=num_sequences)
    texts = [""] * num_sequences
    async with aclosing(assistant(engine, MODEL.vocabulary).generate(generation)) as items:
        async for item in items:
            if isinstance(item, Finished):
                return texts, item
            assert isinstance(item, TextDelta)
            texts[item.index] += item.text
    raise AssertionError("no end")


def text_engine(*items: Item, hangs: bool = False) -> FakeEngine:
    return FakeEngine(items, features=frozenset(), hangs=hangs)


@pytest.mark.parametrize(
    "before",
    ["", TURN, "user\nHi\nassistant\n", "<|im_start|>assistant\n"],
    ids=["no echo", "whole echo", "echo without control tokens", "echo of the header"],
)
async def test_an_echo_of_the_prompt_is_no_part_of_the_answer(before: str) -> None:
    engine = text_engine(*said(*before, "Hel", "lo"), CUT)

    assert await answered(engine) == (["Hello"], CUT)


async def test_a_next_turn_ends_the_generation_at_once() -> None:
    engine = text_engine(*said("Hello.", "<|im_", "end|>\n", "More"), hangs=True)

    assert await answered(engine) == (["Hello."], stop())
    assert engine.closed == 1


async def test_an_answer_that_ended_was_not_cut_off() -> None:
    script = [*said("Hi<|im_end|>"), *said("A", index=1), Finished((FinishReason.LENGTH,) * 2)]

    texts, finished = await answered(text_engine(*script), num_sequences=2)

    assert texts == ["Hi", "A"]
    assert finished.reasons == (FinishReason.STOP, FinishReason.LENGTH)


async def test_text_held_back_comes_at_the_end() -> None:
    engine = text_engine(*said("a <|im_"), CUT)

    assert await answered(engine) == (["a <|im_"], CUT)


def test_an_engine_that_shows_its_tokens_is_taken_as_it_is() -> None:
    engine = FakeEngine([text("x")], features=frozenset({Feature.TOKEN_IDS}))

    assert assistant(engine, MODEL.vocabulary) is engine
