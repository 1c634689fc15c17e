"""The OpenVINO engine under the loop, without Triton: what no request can be made to cause."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import openvino_genai
import pytest
from backend.contract import Guide, Refused, Request
from backend.engines.openvino.engine import OpenVinoEngine
from backend.engines.openvino.guide_office import GuideOffice
from backend.engines.openvino.guide_trial import GuideTrial
from backend.loop import Loop
from backend.responses import Delta

from build_engine.repository import Repository

BAD_GUIDE = Guide("regex", "((((")
OPTIONAL = {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(150)}}
CHUNK_TOKENS = 64


class GullibleEngine(OpenVinoEngine):
    """Lets guides through that do not compile, so that the pipeline raises in its step."""

    def is_prepared(self, request: Request) -> bool:
        return True


class Caller(Future[list[int]]):
    """Gathers the ids of one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: list[int] = []

    def is_cancelled(self) -> bool:
        return False

    def send(self, delta: Delta, is_final: bool) -> None:
        self._ids += delta.ids
        if is_final:
            self.set_result(self._ids)

    def end(self) -> None:
        self.set_result(self._ids)

    def fail(self, error: Exception) -> None:
        self.set_exception(error)


@pytest.fixture(scope="module")
def model(openvino_repository: Repository) -> Path:
    return openvino_repository.path / "tensorrt_llm" / "1" / "model.gguf"


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[OpenVinoEngine]:
    engine = OpenVinoEngine(
        model, max_num_seqs=8, max_batch_tokens=CHUNK_TOKENS, max_guides_bytes=600_000
    )
    yield engine
    engine.close()


def prompt_of(seed: str, num_tokens: int) -> tuple[int, ...]:
    """Ordinary tokens that no other seed gives, not even at the start."""
    draw = random.Random(seed)
    return tuple(draw.randrange(300, 40_000) for _ in range(num_tokens))


def answer(engine: OpenVinoEngine, key: int, prompt: tuple[int, ...]) -> list[int]:
    """The likeliest tokens after a prompt, whatever else the engine is doing."""
    engine.start([key], Request(id="", input_ids=prompt, max_tokens=6))
    ids: list[int] = []
    while len(ids) < 6:
        ids += [token for gained in engine.step() if gained.key == key for token in gained.ids]
    engine.stop(key)
    return ids


def abandon(engine: OpenVinoEngine, key: int, prompt: tuple[int, ...]) -> None:
    """Leave a prompt after a step that another, shorter one shares, so amid a block."""
    engine.start([key], Request(id="", input_ids=prompt_of(f"short {key}", 5), max_tokens=4))
    engine.start([key + 1], Request(id="", input_ids=prompt, max_tokens=4))
    engine.step()
    engine.stop(key)
    engine.stop(key + 1)


def test_prompts_answer_as_on_a_fresh_engine_after_fifty_abandoned_ones(
    engine: OpenVinoEngine, model: Path
) -> None:
    prompts = [prompt_of(f"abandoned {at}", CHUNK_TOKENS + 10 + at) for at in range(10)]
    for key in range(100, 200, 2):
        abandon(engine, key, prompts[key // 2 % 10])

    answers = [answer(engine, 1000 + at, prompt) for at, prompt in enumerate(prompts)]

    fresh = OpenVinoEngine(model, max_num_seqs=8, reuses_kv_cache=False)
    assert answers == [answer(fresh, 1000 + at, prompt) for at, prompt in enumerate(prompts)]
    fresh.close()


def test_a_sequence_stopped_amid_its_prompt_ends_with_that_prompt(engine: OpenVinoEngine) -> None:
    prompt = prompt_of("amid", 3 * CHUNK_TOKENS)
    engine.start([1], Request(id="", input_ids=prompt, max_tokens=4000))
    engine.step()
    engine.stop(1)
    num_steps = 0

    while engine.has_work:
        assert engine.step() == []
        num_steps += 1

    assert num_steps == 2


def test_a_sequence_stopped_before_its_prompt_or_behind_a_token_ends_at_once(
    engine: OpenVinoEngine,
) -> None:
    for key in (1, 2):
        prompt = prompt_of(f"ends {key}", 2 * CHUNK_TOKENS)
        engine.start([key], Request(id="", input_ids=prompt, max_tokens=4000))
    engine.step()
    engine.stop(2)
    while not engine.step():
        pass

    engine.stop(1)

    assert not engine.has_work


@pytest.mark.parametrize(
    "guide",
    [
        pytest.param(Guide("json_schema", json.dumps(OPTIONAL)), id="tried first"),
        pytest.param(Guide("regex", "(yes|no)"), id="sure to be cheap"),
    ],
)
def test_a_guide_is_compiled_before_the_pipeline_meets_it(
    engine: OpenVinoEngine, guide: Guide
) -> None:
    request = Request(id="", input_ids=(504,), max_tokens=8, guide=guide)
    assert not engine.is_prepared(request)

    engine.prepare(request)

    assert engine.is_prepared(request)


@pytest.mark.parametrize(
    ("guide", "reason"),
    [
        pytest.param(BAD_GUIDE, "parenthesis is not closed", id="does not compile"),
        pytest.param(
            Guide("json_schema", '{"enum": ["' + "a" * 600_000 + '"]}'), "bytes", id="long"
        ),
    ],
)
def test_a_guide_that_cannot_be_compiled_is_refused_and_remembered(
    engine: OpenVinoEngine, guide: Guide, reason: str
) -> None:
    request = Request(id="", input_ids=(504,), max_tokens=8, guide=guide)

    with pytest.raises(Refused, match=f"invalid guide: .*{reason}"):
        engine.prepare(request)

    with pytest.raises(Refused, match=reason):
        engine.is_prepared(request)


def test_a_guide_that_takes_long_even_once_compiled_is_refused_and_remembered(model: Path) -> None:
    trial = GuideTrial(model, again_s=0)  # what any guide takes is longer
    office = GuideOffice(openvino_genai.Tokenizer(model), trial, max_held_bytes=600_000)
    guide = Guide("regex", "(number [0-9]{3})+")

    with pytest.raises(Refused, match="invalid guide: it is too large"):
        office.compile(guide)

    trial.close()
    with pytest.raises(Refused, match="invalid guide: it is too large"):
        office.is_known(guide)


def test_what_guides_pile_up_is_given_back_where_there_is_nothing_to_do(
    engine: OpenVinoEngine,
) -> None:
    guides = [Guide("regex", f"answer {at}") for at in range(3)]
    requests = [Request(id="", input_ids=(504,), max_tokens=1, guide=guide) for guide in guides]

    for request in requests:
        engine.prepare(request)
    assert all(engine.is_prepared(request) for request in requests)
    engine.tidy()

    assert not any(engine.is_prepared(request) for request in requests)


def test_a_step_that_raises_fails_those_in_flight_and_the_pipeline_recovers(model: Path) -> None:
    loop = Loop(GullibleEngine(model, max_num_seqs=4), report=lambda load: None)
    fine = Request(id="fine", input_ids=(504, 1695), max_tokens=8)
    before, in_flight, poison, after = (Caller() for _ in range(4))
    loop.submit(fine, before)
    expected = before.result(timeout=60)

    loop.submit(Request(id="long", input_ids=(504, 1695), max_tokens=4000), in_flight)
    loop.submit(Request(id="bad", input_ids=(504,), max_tokens=8, guide=BAD_GUIDE), poison)

    assert "parenthesis is not closed" in str(poison.exception(timeout=60))
    assert str(in_flight.exception(timeout=60)) == str(poison.exception())
    loop.submit(fine, after)
    assert after.result(timeout=120) == expected
    loop.close()
