"""Lengths are noted per answer, not per token, however the answer ends."""

from pathlib import Path

import pytest

from build_engine.trace import read_trace
from gateway.errors import EngineFailure
from gateway.generation import Generation, Prompt
from gateway.output.answer import Answer, AnswerSpec
from gateway.reply import Reply
from gateway.telemetry.lengths import LengthTrace
from tests.fakes import FakeEngine, stop, text, tiny_model

PROMPT = Prompt((1, 2, 3), "abc")


def reply(engine: FakeEngine, lengths: LengthTrace) -> Reply:
    answer = Answer(AnswerSpec(), tiny_model(engine).vocabulary)
    return Reply(engine, Generation(PROMPT, 9), answer, lengths=lengths)


async def test_every_answer_is_noted_however_it_ends(tmp_path: Path) -> None:
    lengths = LengthTrace(tmp_path / "lengths.jsonl")
    whole = FakeEngine([text("ab"), text("c"), stop()])
    broken = FakeEngine([text("ab"), EngineFailure("It broke.")])
    left = FakeEngine([text("a")], hangs=True)

    _ = [events async for events in reply(whole, lengths).steps()]
    with pytest.raises(EngineFailure):
        _ = [events async for events in reply(broken, lengths).steps()]
    steps = reply(left, lengths).steps()
    await anext(steps)
    await steps.aclose()

    noted = read_trace(tmp_path / "lengths.jsonl")
    assert [(r.prompt_tokens, r.completion_tokens) for r in noted] == [(3, 3), (3, 2), (3, 1)]
    lengths.close()
