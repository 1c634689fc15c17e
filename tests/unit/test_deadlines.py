"""Until when an answer is to come: what requests and models say, and which of it counts."""

import math
from collections.abc import AsyncGenerator

import pytest

from gateway.blueprints import load_blueprint
from gateway.deadlines import note_deadlines
from gateway.errors import InvalidRequest
from gateway.generation import Generation, Item
from gateway.origin import Origin, origin
from gateway.settings import ModelSettings, Settings, TimeoutSettings
from tests.fakes import FakeEngine, stop, text, tiny_tokenizer
from tests.wire import client

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/chat/completions"
Times = tuple[float, float, float]


class NotingEngine(FakeEngine):
    """Notes where what it is asked comes from."""

    came = Origin()

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        self.came = origin.get()
        async for item in super().generate(generation):
            yield item


async def test_what_headers_say_counts_from_the_arrival_and_goes_on_to_the_engine() -> None:
    engine = NotingEngine([text("Hi"), stop()])
    headers = {
        "X-Request-Timeout-Ms": "5000",
        "X-First-Token-Timeout-Ms": "1500",
        "X-Token-Timeout-Ms": "250",
    }

    async with client(engine) as http:
        response = await http.post(PATH, json=HELLO, headers=headers)

    came = engine.came
    assert response.status_code == 200
    assert came.deadline - came.arrived == pytest.approx(5)
    assert came.first_token_by - came.arrived == pytest.approx(1.5)
    assert came.token_timeout_s == 0.25


@pytest.mark.parametrize(
    "given", ["", "0", "-1", "1.5", "1e3", "1s", "9" * 10, "0" * 99 + "1", "٣"]
)
def test_what_is_no_time_is_refused_by_the_headers_name(given: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        note_deadlines({"x-token-timeout-ms": given})

    assert raised.value.param == "x-token-timeout-ms"


async def test_a_header_that_is_no_time_is_a_400() -> None:
    async with client(FakeEngine([text("Hi"), stop()])) as http:
        response = await http.post(PATH, json=HELLO, headers={"x-request-timeout-ms": "soon"})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "x-request-timeout-ms"


@pytest.mark.parametrize(("ms", "deadline"), [("500", 10.5), ("900000", 40.0)])
async def test_of_a_header_and_the_deadline_of_a_call_the_nearer_counts(
    ms: str, deadline: float
) -> None:
    origin.set(Origin(deadline=40.0, arrived=10.0))

    note_deadlines({"x-request-timeout-ms": ms})

    assert origin.get().deadline == deadline
    assert origin.get().first_token_by == math.inf


@pytest.mark.parametrize(
    ("shared", "own", "expected"),
    [
        pytest.param((600, 0, 0), (0, 0, 0), (600, 0, 0), id="none-of-its-own"),
        pytest.param((600, 9, 0), (120, 20, 5), (120, 9, 5), id="the-nearer"),
        pytest.param((0, 0, 0), (0, 0, 0), (None, 0, 0), id="none"),
    ],
)
def test_of_a_models_timeouts_and_those_of_all_the_nearer_counts(
    shared: Times, own: Times, expected: tuple[float | None, float, float]
) -> None:
    total, first, between = shared
    settings = Settings(
        request_timeout_s=total, first_token_timeout_s=first, token_timeout_s=between
    )
    total, first, between = own
    timeouts = TimeoutSettings(request_s=total, first_token_s=first, token_s=between)
    model = ModelSettings(id="tiny", tokenizer=tiny_tokenizer(), timeouts=timeouts)

    blueprint = load_blueprint(model, settings)

    assert (
        blueprint.timeout_s,
        blueprint.first_token_timeout_s,
        blueprint.token_timeout_s,
    ) == expected
