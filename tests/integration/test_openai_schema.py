"""Thousands of requests drawn from our own OpenAPI document: every answer is one it states."""

import json
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import schemathesis
import structlog
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from schemathesis import Case, CheckFunction, GenerationMode, Response
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from gateway.app import create_app
from gateway.generation import Delta, Finished, FinishReason, Generation, Item
from gateway.models import Models
from gateway.openai.answers import ChatCompletionChunk, Completion
from gateway.settings import Settings
from gateway.traffic.size import MAX_WORD
from tests.conftest import Figure
from tests.fakes import FakeEngine, tiny_model

POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
# Cases drawn of each operation, those that fit its schema and those that do not.
AMOUNTS = {
    ("/v1/chat/completions", "POST"): {POSITIVE: 350, NEGATIVE: 60},
    ("/v1/completions", "POST"): {POSITIVE: 2600, NEGATIVE: 500},
    ("/v1/tokenize", "POST"): {POSITIVE: 150, NEGATIVE: 20},
    ("/v1/detokenize", "POST"): {POSITIVE: 900, NEGATIVE: 200},
    ("/v1/models/{model_id}", "GET"): {POSITIVE: 300},
    ("/v1/models", "GET"): {POSITIVE: 1},
    ("/health/live", "GET"): {POSITIVE: 1},
    ("/health/ready", "GET"): {POSITIVE: 1},
    ("/version", "GET"): {POSITIVE: 1},
}
# How many of the requests that fit are accepted, at least, in relation to the cases drawn.
ACCEPTED = {
    "/v1/chat/completions": 0.05,
    "/v1/completions": 0.8,
    "/v1/tokenize": 0.1,
    "/v1/detokenize": 0.2,
    "/v1/models/{model_id}": 0,  # nobody guesses its name
}
CHUNKS: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatCompletionChunk,
    "/v1/completions": Completion,
}


class WillingEngine(FakeEngine):
    """Says hello in as many sequences as it is asked for."""

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        for index in range(generation.num_sequences):
            yield Delta(index, list(b"Hello"), [-0.5] * 5)
        yield Finished((FinishReason.STOP,) * generation.num_sequences)


APP = create_app(Settings(), Models([tiny_model(WillingEngine())]))
DOCUMENT = schemathesis.openapi.from_asgi("/openapi.json", APP)
SCHEMAS = APP.openapi()["components"]["schemas"]
# A value in its range is still refused where another parameter contradicts it.
EXCLUDED: list[CheckFunction] = [positive_data_acceptance]


@pytest.fixture
def quiet() -> Any:
    """Thousands of log lines tell nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("path", "method", "mode", "amount"),
    [
        pytest.param(*operation, mode, amount, id=f"{operation[0]} {mode}")
        for operation, amounts in AMOUNTS.items()
        for mode, amount in amounts.items()
    ],
)
def test_every_case_is_answered_as_the_document_says(
    quiet: None, figure: Figure, path: str, method: str, mode: str, amount: int
) -> None:
    statuses: Counter[int] = Counter()

    drawn = try_operation(path, method, mode, amount, statuses)

    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    figure(f"{drawn} {mode} cases of {path}, {statuses.total()} requests: {told}")
    assert drawn >= amount
    if mode == POSITIVE:
        assert statuses[200] >= amount * ACCEPTED.get(path, 1)


def test_no_operation_is_left_out() -> None:
    found = [result.ok() for result in DOCUMENT.get_all_operations() if isinstance(result, Ok)]

    operations = {(operation.path, operation.method.upper()) for operation in found}
    assert operations == AMOUNTS.keys()
    assert sum(sum(amounts.values()) for amounts in AMOUNTS.values()) >= 5000


def try_operation(path: str, method: str, mode: str, amount: int, statuses: Counter[int]) -> int:
    """Send cases, each that fits also with few of its parameters; return how many were drawn."""
    drawn = 0

    @settings(
        max_examples=amount,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        case=DOCUMENT[path][method].as_strategy(generation_mode=GenerationMode(mode)),
        kept=st.sets(st.sampled_from(["nothing", *optional_parameters(path)]), max_size=3),
    )
    def check(case: Case[Any], kept: set[str]) -> None:
        nonlocal drawn
        drawn += 1
        name_the_model(case)
        statuses[send(case)] += 1
        if mode == POSITIVE and isinstance(case.body, dict):
            case.body = {k: v for k, v in case.body.items() if k in kept | required(path)}
            statuses[send(case)] += 1

    check()
    return drawn


def send(case: Case[Any]) -> int:
    """Return the status of the answer to a case, once it is as the document says."""
    response = case.call()
    case.validate_response(response, excluded_checks=EXCLUDED)
    for event in events(response):
        CHUNKS[case.path].model_validate(event)
    return response.status_code


def events(response: Response) -> list[Any]:
    if not response.headers["content-type"][0].startswith("text/event-stream"):
        return []
    lines = response.content.decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def name_the_model(case: Case[Any]) -> None:
    """Replace a model's name that was drawn: nothing is behind it. One too long stays wrong."""
    if not isinstance(case.body, dict):
        return
    name = case.body.get("model")
    if isinstance(name, str) and len(name) <= MAX_WORD:
        case.body["model"] = "tiny"


def body_schema(path: str) -> Any:
    content = DOCUMENT.raw_schema["paths"][path].get("post", {}).get("requestBody", {})
    ref = content.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    return SCHEMAS.get(ref.rpartition("/")[2], {"properties": {}, "required": []})


def optional_parameters(path: str) -> list[str]:
    return sorted(body_schema(path)["properties"].keys() - required(path))


def required(path: str) -> set[str]:
    return set(body_schema(path)["required"])
