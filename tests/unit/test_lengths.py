from pathlib import Path

import pytest

from build_engine.trace import Request, read_trace
from gateway.errors import EngineFailure
from gateway.generation import Generation, Prompt
from gateway.lengths import LengthTrace, TracedEngine
from tests.fakes import FakeEngine, stop, text

PROMPT = Prompt((1, 2, 3), "abc")


async def test_every_request_is_noted_however_it_ends(tmp_path: Path) -> None:
    trace = LengthTrace(tmp_path / "lengths.jsonl")
    whole = TracedEngine(FakeEngine([text("ab"), text("c"), stop()]), trace)
    broken = TracedEngine(FakeEngine([text("ab"), EngineFailure("It broke.")]), trace)

    items = [item async for item in whole.generate(Generation(PROMPT, 9))]
    with pytest.raises(EngineFailure):
        [item async for item in broken.generate(Generation(PROMPT, 9))]

    await whole.close()
    noted = read_trace(tmp_path / "lengths.jsonl")
    assert items == [text("ab"), text("c"), stop()]
    assert [(r.prompt_tokens, r.completion_tokens) for r in noted] == [(3, 3), (3, 2)]
    assert all(isinstance(request, Request) for request in noted)
