"""What a request leaves behind: whether to try again, lines in the log, counters."""

from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs

from gateway import errors
from gateway.app import create_app
from gateway.errors import EngineFailure, GatewayError
from gateway.models import Models
from gateway.settings import Settings
from tests.fakes import FakeEngine, stop, text
from tests.wire import CheckedTransport, client

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
PATH = "/v1/chat/completions"
FAILURES = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, GatewayError)
]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_failure_says_whether_to_try_again(
    failure: type[GatewayError], stream: bool
) -> None:
    async with client(FakeEngine([failure("It failed.", retry_after_s=1.6)])) as http:
        response = await http.post(PATH, json=HELLO | {"stream": stream})

    assert response.status_code == failure.status
    assert response.headers["x-should-retry"] == str(failure.retry).lower()
    assert response.headers["retry-after"] == "2"
    assert response.headers["x-request-id"]


async def test_ignored_parameters_are_counted_under_bounded_names() -> None:
    async with client(FakeEngine([text("Hi"), stop()])) as http:
        before = (await http.get("/metrics")).text
        await http.post(PATH, json=HELLO | {"store": True, "made_up": 1, "made_up_too": 2})
        after = (await http.get("/metrics")).text

    assert counted(after, "store") - counted(before, "store") == 1
    assert counted(after, "other") - counted(before, "other") == 2
    assert "made_up" not in after


def counted(page: str, param: str) -> float:
    """Return how often a parameter was ignored, as a page of metrics tells."""
    name = f'gateway_ignored_parameters_total{{param="{param}"}} '
    return sum(float(line[len(name) :]) for line in page.splitlines() if line.startswith(name))


async def test_a_model_that_is_not_there_yet_is_worth_waiting_for() -> None:
    models = Models()
    models.expect(["tiny"], "its Triton at 10.0.0.7:8001 does not answer")
    transport = CheckedTransport(create_app(Settings(), models))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        response = await http.post(PATH, json=HELLO)

    assert response.status_code == 503
    assert response.headers["x-should-retry"] == "true"
    assert int(response.headers["retry-after"]) >= 1
    assert "10.0.0.7" not in response.text


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([text("Hi"), stop()], id="answered"),
        pytest.param([text("Hi"), EngineFailure("It broke.")], id="failed"),
        pytest.param([text("Hi"), object()], id="broken"),
    ],
)
async def test_every_log_line_of_a_request_has_its_id(script: Any) -> None:
    headers = {"x-request-id": "mine"}
    fields = {"user": "me", "no_such_field": 1, "stream": True}
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        async with client(FakeEngine(script)) as http:
            await http.post(PATH, json=HELLO | fields, headers=headers)

    assert {line["request_id"] for line in lines} == {"mine"}
    assert {"request", "parameter_ignored"} <= {line["event"] for line in lines}
