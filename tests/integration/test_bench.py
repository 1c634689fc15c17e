"""`gateway bench` over real sockets: against the gateway, and against endpoints that are odd."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.bench.endpoint import base_url
from gateway.bench.errors import BenchError
from gateway.bench.figures import Target
from gateway.bench.report import Report
from gateway.bench.run import Options, measure, report_for
from gateway.errors import EngineFailure
from gateway.settings import Settings
from tests.fakes import FakeEngine, length, text
from tests.integration.test_openai_sockets import SlowEngine
from tests.serving import serving

pytestmark = pytest.mark.alone

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MODELS = {"data": [{"id": "odd"}]}
SAID = '{"choices": [{"delta": {"content": "x"}}]}'
SECRET = "sk-a-secret-of-mine"


class PacedEngine(SlowEngine):
    pause_s = 0.05


@asynccontextmanager
async def odd_endpoint(chat: Handler, models: object = MODELS) -> AsyncIterator[str]:
    """Serve a chat handler beside a list of models; yield the URL."""

    async def list_models(_: web.Request) -> web.Response:
        return web.json_response(models)

    app = web.Application()
    app.router.add_get("/v1/models", list_models)
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def measured(url: str, **fields: Any) -> Report:
    """Return what a short benchmark finds."""
    options = Options(url, **{"concurrencies": (2,), "requests": 4, **fields})
    report = report_for(options)
    await measure(options, report)
    return report


async def streamed(request: web.Request, *frames: str) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for frame in frames:
        await response.write(f"data: {frame}\n\n".encode())
    return response


async def test_what_the_engine_does_is_what_is_measured() -> None:
    engine = PacedEngine([text("a"), text("b"), text("c"), length()])

    async with serving(engine, Settings()) as url:
        report = await measured(url, concurrencies=(1, 4), requests=8, target=Target(10, 10))

    one, four = report.levels
    assert (report.model, one.answered, four.answered) == ("tiny", 8, 8)
    assert one.output_tokens == four.output_tokens == 24
    assert one.prompt_tokens > 8 * 20
    assert 0.05 <= one.itl_s.p50 < 0.5
    assert 0.15 <= one.e2e_s.p50 < 1.5
    assert one.goodput_per_s == one.requests_per_s
    assert four.output_tokens_per_s > 2.5 * one.output_tokens_per_s


async def test_synthetic_prompts_have_the_length_asked_for_as_the_endpoint_counts() -> None:
    engine = FakeEngine([text("a"), length()])

    async with serving(engine, Settings()) as url:
        report = await measured(url, prompt_tokens=300, ignore_eos=True)

    (level,) = report.levels
    assert level.prompt_tokens / level.answered == pytest.approx(300, rel=0.1)
    assert engine.requests[-1].end_ids == ()


async def test_a_template_longer_than_the_prompt_is_told() -> None:
    async with serving(FakeEngine([text("a"), length()]), Settings()) as url:
        with pytest.raises(BenchError, match="raise --prompt-tokens"):
            await measured(url, prompt_tokens=5)


async def test_an_endpoint_without_usage_is_counted_by_its_events() -> None:
    async def chat(request: web.Request) -> web.StreamResponse:
        return await streamed(request, SAID, SAID, SAID, "[DONE]")

    async with odd_endpoint(chat) as url:
        report = await measured(url)

    assert report.levels[0].output_tokens == 4 * 3


async def test_failures_are_counted_and_a_level_of_nothing_else_is_the_last() -> None:
    asked = 0

    async def chat(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked <= 1 + 2 + 1:
            return await streamed(request, SAID, "[DONE]")
        return web.json_response({"error": {"message": "too many"}}, status=429)

    async with odd_endpoint(chat) as url:
        report = await measured(url, concurrencies=(2, 4, 8))

    first, last = report.levels
    assert (first.answered, first.failures) == (1, {"status 429: too many": 3})
    assert (last.answered, last.failed) == (0, 4)


@pytest.mark.parametrize(
    ("key", "message"),
    [("", "wants a key: put it in MY_KEY"), (SECRET, "refuses the key in MY_KEY")],
    ids=["none", "a wrong one"],
)
async def test_a_key_is_asked_for_by_the_name_of_its_variable(key: str, message: str) -> None:
    async def chat(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no"}}, status=401)

    async with odd_endpoint(chat) as url:
        with pytest.raises(BenchError, match=message) as told:
            await measured(url, key=key, key_name="MY_KEY")

    assert SECRET not in str(told.value)


async def test_the_key_is_sent_and_told_to_nobody_else() -> None:
    async def chat(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == f"Bearer {SECRET}"
        return await streamed(request, SAID, "[DONE]")

    async with odd_endpoint(chat) as url:
        report = await measured(url, key=SECRET)

    assert report.levels[0].answered == 4
    assert SECRET not in report.to_json().decode() + repr(Options(url, key=SECRET))


async def test_a_model_that_is_not_served_is_told_beside_those_that_are() -> None:
    async with serving(FakeEngine(), Settings()) as url:
        with pytest.raises(BenchError, match="no such model; it serves tiny"):
            await measured(url, model="huge")


@pytest.mark.parametrize(
    ("models", "message"),
    [({"data": []}, "serves no model yet"), (["odd"], "is no list of models")],
    ids=["empty", "another shape"],
)
async def test_a_list_without_models_is_told(models: object, message: str) -> None:
    async def chat(_: web.Request) -> web.StreamResponse:
        raise AssertionError("there is no model to ask")

    async with odd_endpoint(chat, models) as url:
        with pytest.raises(BenchError, match=message):
            await measured(url)


async def test_nobody_at_the_address_is_told() -> None:
    with pytest.raises(BenchError, match=r"nothing answers at http://127.0.0.1:1/v1"):
        await measured("127.0.0.1:1")


async def test_a_first_question_that_fails_says_why() -> None:
    async with serving(FakeEngine([EngineFailure("It broke.")]), Settings()) as url:
        with pytest.raises(BenchError, match="status 500"):
            await measured(url)


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("http://h/", "http://h/v1"),
        ("https://h/openai/v1/", "https://h/openai/v1"),
        ("http://h/v1/chat/completions", "http://h/v1"),
    ],
    ids=["address", "no path", "a path", "whole"],
)
def test_urls_are_taken_as_people_write_them(given: str, base: str) -> None:
    assert base_url(given) == base


def test_a_url_must_not_carry_a_key() -> None:
    with pytest.raises(BenchError, match="environment"):
        base_url(f"http://me:{SECRET}@h/v1")
