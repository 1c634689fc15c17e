"""Whatever a caller can make large has a bound, and is refused before anything is made of it."""

import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import current_thread
from typing import Any
from weakref import ref

import pytest
from fastapi import Request

from gateway.app import create_app
from gateway.errors import InvalidRequest
from gateway.http.exchange import HEADERS
from gateway.models import Models
from gateway.openai.bodies import INLINE_BYTES, parse_body, read_body
from gateway.openai.schemas import ChatCompletionRequest, CompletionRequest
from gateway.output.stops import StopMatcher
from gateway.settings import Settings
from gateway.traffic.size import (
    MAX_CHOICES,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_ECHO,
    MAX_FIELDS,
    MAX_MEMBERS,
    MAX_STOP_CHARS,
    MAX_TEXT,
    MAX_UNKNOWN,
    MAX_VALUES,
    check_json,
)
from gateway.triton.tensors import words
from tests.fakes import FakeEngine, stop
from tests.wire import client

DOCUMENT = create_app(Settings(), Models()).openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
HI: list[Any] = [{"role": "user", "content": "Hi"}]


def sent() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema that a part of a request has, with where it stands."""
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                yield from nodes(f"{path} {parameter['name']}", parameter["schema"], ())
            content = operation.get("requestBody", {}).get("content", {})
            for media_type in content.values():
                yield from nodes(path, media_type["schema"], ())


def nodes(
    where: str, schema: dict[str, Any], seen: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name not in seen:
            yield from nodes(where, SCHEMAS[name], (*seen, name))
        return
    yield where, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(f"{where}.{name}", inner, seen)
    for member in schema.get("anyOf", ()):
        yield from nodes(where, member, seen)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from nodes(f"{where}[]", schema[keyword], seen)


def is_bounded(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    if "enum" in schema or "const" in schema:
        return True
    if kind == "string":
        return "maxLength" in schema
    if kind == "array":
        return "maxItems" in schema
    if kind == "object":
        return "properties" in schema or "maxProperties" in schema
    if kind in ("integer", "number"):
        return {"maximum", "exclusiveMaximum"} & schema.keys() != set()
    return True


def test_every_text_list_object_and_number_that_can_be_sent_has_a_maximum() -> None:
    found = list(sent())

    assert len(found) > 200
    assert [where for where, schema in found if not is_bounded(schema)] == []


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        ([[]] * MAX_CONTAINERS, "32,768 objects and lists"),
        ([{}] * MAX_CONTAINERS, "32,768 objects and lists"),
        ([0] * (MAX_VALUES + 1), "524,288 values"),
        ({str(i): 0 for i in range(MAX_MEMBERS + 1)}, "131,072 names in objects"),
        (["[,:{" * MAX_CONTAINERS, *[""] * 300_000], "262,144 texts"),
    ],
    ids=["lists", "objects", "values", "names", "texts"],
)
def test_json_of_too_many_values_is_refused(value: Any, bound: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_json(json.dumps(value).encode())

    assert refused.value.message == f"The body holds more than {bound}."


@pytest.mark.parametrize(
    "text",
    [b"a", rb"\n", rb"\\", rb"\"", rb"\\\"", b"[{,:", "é".encode()],
    ids=["letters", "escapes", "backslashes", "quotes", "both", "marks", "wide letters"],
)
def test_a_text_beyond_the_bound_is_refused_before_it_is_read(text: bytes) -> None:
    most = text * (MAX_TEXT // len(text))
    check_json(b'{"a": "%b", "b": "%b"}' % (most, most))

    with pytest.raises(InvalidRequest, match=r"holds more than 8,388,608 bytes in a text"):
        check_json(b'{"a": "b", "b": ["%b"]}' % (most + text))


def test_what_stands_between_texts_is_no_text() -> None:
    check_json(b'{"a":%b"%b"}' % (b" " * 2 * MAX_TEXT, b"a" * (MAX_TEXT - 2**20)))


@pytest.mark.parametrize(
    "value",
    [
        [[]] * (MAX_CONTAINERS - 1),
        [0] * (MAX_VALUES - 1),
        "[{,:" * MAX_VALUES,
        '"[{,:' * MAX_VALUES,
        "\\[{,:" * MAX_VALUES,
        '\\"[{,:\\' * MAX_VALUES,
        {"[{,:" * MAX_VALUES: "[" * MAX_VALUES},
    ],
    ids=["lists", "values", "text", "quotes", "escapes", "both", "name"],
)
def test_json_within_the_bounds_passes_whatever_its_texts_say(value: Any) -> None:
    check_json(json.dumps(value).encode())


@pytest.mark.parametrize("raw", [b'"' + b"[" * 2**16, b"\\" * 9, b"[\\" * 2**16], ids=str)
def test_what_is_no_json_is_left_to_its_reader_or_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        check_json(raw)
        parse_body(raw, CompletionRequest)


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["lists", "objects"])
def test_depth_is_bounded_and_the_bound_told(opening: str) -> None:
    raw = f'{{"model": "m", "prompt": "p", "x": {opening * (MAX_DEPTH + 1)}'.encode()

    with pytest.raises(InvalidRequest, match=f"nested more than {MAX_DEPTH} deep"):
        parse_body(raw, CompletionRequest)


@pytest.mark.parametrize(
    ("field", "value", "param", "bound"),
    [
        ("stop", "a" * 513, "stop", "512"),
        ("stop", ["a", "b" * 513], "stop[1]", "512"),
        ("stop", ["a"] * 65, "stop", "64"),
        ("bad_words", ["a" * 257], "bad_words[0]", "256"),
        ("logit_bias", dict.fromkeys(map(str, range(1025)), 0), "logit_bias", "1024"),
        ("logit_bias", dict.fromkeys(map(hex, range(100_000)), "x"), "logit_bias", "1024"),
        ("guided_regex", "(" * 50_000, "guided_regex", "4096"),
        ("guided_grammar", "a" * 65_537, "guided_grammar", "32768"),
        ("guided_json", "1" * 131_073, "guided_json", "131072"),
        ("guided_choice", ["a"] * 4097, "guided_choice", "4096"),
        ("messages", HI * 8193, "messages", "8192"),
        ("messages", [{"role": "user", "content": [{"type": "text"}] * 4097}], None, "4096"),
        ("messages", [{**HI[0], "name": "a" * 4097}], "messages[0].name", "4096"),
        ("tools", [{"type": "a" * 257}], "tools[0].type", "256"),
        ("model", "a" * 257, "model", "256"),
        ("chat_template_kwargs", dict.fromkeys(map(str, range(1025))), None, "1024"),
    ],
)
def test_what_is_too_large_is_refused_by_name_with_its_bound(
    field: str, value: Any, param: str | None, bound: str
) -> None:
    body = {"model": "m", "messages": HI, field: value}

    with pytest.raises(InvalidRequest, match=f"at most {bound} ") as refused:
        parse_body(json.dumps(body).encode(), ChatCompletionRequest)

    assert refused.value.param == (param or refused.value.param)


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        (ChatCompletionRequest, {"messages": [[]] * 30_000}),
        (ChatCompletionRequest, {"messages": [{"role": "user", "content": [{}] * 30_000}]}),
        (CompletionRequest, {"prompt": [-1] * 30_000}),
        (CompletionRequest, {"prompt": [[-1]] * 1000}),
        (ChatCompletionRequest, {"messages": HI, "tools": [[]] * 30_000}),
    ],
    ids=["messages", "parts", "ids", "lists of ids", "tools"],
)
def test_a_list_is_given_up_at_its_first_fault(schema: Any, body: dict[str, Any]) -> None:
    raw = json.dumps({"model": "m", **body}).encode()

    with pytest.raises(InvalidRequest) as refused:
        parse_body(raw, schema)

    assert len(refused.value.__cause__.errors()) < 5  # type: ignore[union-attr]


def test_the_page_states_the_bounds_of_a_body() -> None:
    page = Path(__file__).parents[2].joinpath("docs/api.md").read_text()
    section = page.split("## Limits\n")[1].split("\n## ")[0]

    bounds = [MAX_CONTAINERS, MAX_VALUES, MAX_MEMBERS, MAX_DEPTH, MAX_TEXT]
    bounds += [MAX_FIELDS, MAX_UNKNOWN, MAX_CHOICES, MAX_ECHO, MAX_STOP_CHARS]
    assert re.findall(r"^\| .* \| ([\d,]+) \|$", section, re.MULTILINE) == [
        f"{bound:,}" for bound in bounds
    ]


def test_an_error_says_no_more_than_a_thousand_characters() -> None:
    error = InvalidRequest("a" * 10**6)

    assert len(error.message) < 1010


async def test_an_answer_repeats_no_more_than_it_may() -> None:
    engine = FakeEngine([stop(128)], max_model_len=2**20)
    body = {"model": "tiny", "prompt": "a" * (MAX_ECHO // 128 + 1), "echo": True, "n": 128}

    async with client(engine) as http:
        response = await http.post("/v1/completions", json=body)

    assert (response.status_code, response.json()["error"]["param"]) == (400, "echo")
    assert engine.requests == []


async def test_unknown_parameters_are_few() -> None:
    body = {"model": "tiny", "prompt": "a", **dict.fromkeys(map(str, range(MAX_UNKNOWN + 1)), 1)}

    async with client(FakeEngine()) as http:
        response = await http.post("/v1/completions", json=body)

    assert "more than 64 parameters" in response.json()["error"]["message"]


async def test_stop_strings_are_bounded_in_sum() -> None:
    body = {"model": "tiny", "prompt": "a", "stop": ["a" * 512] * 9}

    async with client(FakeEngine()) as http:
        response = await http.post("/v1/completions", json=body)

    assert "'stop' has more than 4,096 characters in all" in response.json()["error"]["message"]


def test_what_finds_long_stop_strings_is_not_remembered_for_long() -> None:
    finders = [ref(StopMatcher([f"{n}" * 512])._automaton) for n in range(1000, 1020)]

    gc.collect()

    assert sum(finder() is not None for finder in finders) <= 8


def test_tensors_of_many_words_are_not_remembered() -> None:
    many = tuple((number,) for number in range(65))

    assert words("bad_words_list", many) is not words("bad_words_list", many)
    assert words("bad_words_list", many[:64]) is words("bad_words_list", many[:64])


@pytest.mark.parametrize(("size", "is_here"), [(100, True), (INLINE_BYTES, False)])
async def test_large_bodies_are_read_beside_the_event_loop(size: int, is_here: bool) -> None:
    body = CompletionRequest(model="m", prompt="a" * size).model_dump_json().encode()
    request = Request(SCOPE, receive=receiver(body))

    thread = await read_body(request, CompletionRequest, Settings(), lambda _: current_thread())

    assert (thread is current_thread()) is is_here


SCOPE = {
    "type": "http",
    "method": "POST",
    "headers": [],
    HEADERS: {"content-type": "application/json"},
}


def receiver(body: bytes) -> Any:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
