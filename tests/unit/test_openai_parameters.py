"""Every request parameter: at its bounds, past them, null, of a wrong type, without the engine."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from gateway.app import create_app
from gateway.engine import Feature
from gateway.models import Models
from gateway.openai.parameters import HINTS, IGNORED, REFUSED, neutral_values
from gateway.settings import Settings
from tests.fakes import FakeEngine
from tests.parameter_cases import CHAT, COMPLETION, HI, NEEDS, Case, Outcome, refused, unsupported
from tests.wire import client, events, is_stream

PATHS = {
    "ChatCompletionRequest": "/v1/chat/completions",
    "CompletionRequest": "/v1/completions",
}
BASE: dict[str, dict[str, Any]] = {
    "ChatCompletionRequest": {"messages": [{"role": "user", "content": "Hi"}]},
    "CompletionRequest": {"prompt": "Hi"},
}
REQUIRED = {"model", "messages", "prompt"}
SAMPLES: list[Any] = ["x", 0, 1.5, True, [], [1], [None], {}, {"a": {}}]
SCHEMAS = create_app(Settings(), Models()).openapi()["components"]["schemas"]


async def ask(body: str, engine: FakeEngine, **fields: Any) -> Outcome:
    request = {"model": "tiny", "seed": 7} | BASE[body] | fields
    async with client(engine) as http:
        response = await http.post(PATHS[body], content=json.dumps(request))
    document = events(response) if is_stream(response) else response.json()
    return Outcome(response.status_code, document, engine.requests)


CASES = {"ChatCompletionRequest": CHAT, "CompletionRequest": COMPLETION}
TABLED = [
    pytest.param(body, case, id=f"{body[:4]}-{case.param}-{json.dumps(case.value)[:40]}")
    for body, cases in CASES.items()
    for case in cases
]
PARAMETERS = [
    pytest.param(body, param, schema, id=f"{body[:4]}-{param}")
    for body in CASES
    for param, schema in SCHEMAS[body]["properties"].items()
]


@pytest.mark.parametrize(("body", "case"), TABLED)
async def test_a_parameter_does_what_its_table_says(body: str, case: Case) -> None:
    engine = FakeEngine(case.script)

    outcome = await ask(body, engine, **case.given, **{case.param: case.value})

    case.check(outcome)


@pytest.mark.parametrize(("body", "case"), TABLED)
async def test_a_stream_refuses_what_a_whole_answer_refuses(body: str, case: Case) -> None:
    fields = {**case.given, case.param: case.value}
    whole = await ask(body, FakeEngine(case.script), **fields)

    stream = await ask(body, FakeEngine(case.script), **{**fields, "stream": True})

    if case.param in ("stream_options", "best_of"):
        assert stream.status in (200, 400)
    else:
        assert stream.status == whole.status
        assert stream.status == 200 or stream.body == whole.body


@pytest.mark.parametrize(("body", "param", "schema"), PARAMETERS)
async def test_null_is_the_same_as_nothing(body: str, param: str, schema: Any) -> None:
    fields = {"seed": 7, param: None}

    outcome = await ask(body, engine := FakeEngine(HI), **fields)

    if param in REQUIRED:
        assert outcome.status == 400
        assert outcome.body["error"]["param"] == param
    else:
        await ask(body, plain := FakeEngine(HI))
        seeded = replace(engine.requests[0], sampling=plain.requests[0].sampling)
        assert [seeded if param == "seed" else engine.requests[0]] == plain.requests


@pytest.mark.parametrize(("body", "param", "schema"), PARAMETERS)
@pytest.mark.parametrize("value", SAMPLES, ids=json.dumps)
async def test_a_value_is_taken_where_the_schema_allows_it_or_refused_by_name(
    body: str, param: str, schema: Any, value: Any
) -> None:
    rules = Draft202012Validator({**schema, "components": {"schemas": SCHEMAS}})
    engine = FakeEngine(HI)

    outcome = await ask(body, engine, **{param: value})

    if outcome.status == 200:
        assert rules.is_valid(value), "what the schema forbids was taken"
        assert engine.requests
    else:
        assert outcome.status == (404 if param == "model" and value == "x" else 400)
        at_fault = re.split(r"[.\[]", outcome.body["error"]["param"] or "")[0]
        # A conversation that ends with the user's message cannot be continued.
        assert at_fault == (
            "messages" if param == "continue_final_message" and value is True else param
        )
        assert engine.requests == []


@pytest.mark.parametrize("body", PATHS)
@pytest.mark.parametrize("param", sorted(IGNORED))
async def test_an_ignored_parameter_changes_nothing(body: str, param: str) -> None:
    await ask(body, with_it := FakeEngine(HI), **{param: {"any": "thing"}})
    await ask(body, without := FakeEngine(HI))

    assert with_it.requests == without.requests


@pytest.mark.parametrize("body", PATHS)
@pytest.mark.parametrize("param", HINTS)
@pytest.mark.parametrize(
    ("value", "session"),
    [("agent-7", "agent-7"), ("a" * 600, ""), ({"any": "thing"}, ""), (7, "")],
    ids=["a key", "too long", "no text", "a number"],
)
async def test_a_hint_tells_which_requests_belong_together(
    body: str, param: str, value: object, session: str
) -> None:
    outcome = await ask(body, engine := FakeEngine(HI), **{param: value})

    assert outcome.status == 200
    assert engine.requests[0].session == session


@pytest.mark.parametrize("body", PATHS)
@pytest.mark.parametrize("param", sorted(REFUSED))
async def test_a_refused_parameter_is_refused(body: str, param: str) -> None:
    unsupported(param)(await ask(body, FakeEngine(HI), **{param: {}}))


@pytest.mark.parametrize("body", PATHS)
@pytest.mark.parametrize("param", sorted(REFUSED))
async def test_a_refused_parameter_that_asks_for_nothing_is_let_pass(body: str, param: str) -> None:
    for value in neutral_values(param):
        outcome = await ask(body, FakeEngine(HI), **{param: value})

        assert outcome.status == 200


@pytest.mark.parametrize("body", PATHS)
@pytest.mark.parametrize("param", NEEDS)
async def test_what_an_engine_lacks_is_refused_by_name(body: str, param: str) -> None:
    value, feature = NEEDS[param]
    engine = FakeEngine(HI, features=frozenset(Feature) - {feature})

    unsupported(param)(await ask(body, engine, **{param: value}))


@pytest.mark.parametrize("body", PATHS)
async def test_a_strict_gateway_refuses_what_nobody_knows(body: str) -> None:
    request = {"model": "tiny", **BASE[body], "no_such_thing": 1, "user": "known"}
    async with client(engine := FakeEngine(HI), Settings(strict=True)) as http:
        response = await http.post(PATHS[body], json=request)

    outcome = Outcome(response.status_code, response.json(), engine.requests)
    refused("no_such_thing", "unknown_parameter")(outcome)


@pytest.mark.parametrize(
    ("body", "cases"), [("ChatCompletionRequest", CHAT), ("CompletionRequest", COMPLETION)]
)
def test_every_parameter_has_a_case(body: str, cases: list[Case]) -> None:
    without = set(SCHEMAS[body]["properties"]) - IGNORED - REFUSED.keys() - {*HINTS}

    assert without <= {case.param for case in cases}
