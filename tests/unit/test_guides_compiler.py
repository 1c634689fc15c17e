"""Forms become guides once each, beside the event loop, at a cost that is known before."""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.generation import Guide, GuideKind
from gateway.guides.calls import call_form, strict_form
from gateway.guides.compiler import GuideCompiler
from gateway.guides.errors import Unenforceable
from gateway.guides.forms import Form, choice_form, grammar_form, json_schema_form, regex_form
from gateway.guides.schema import schema_grammar
from gateway.output.tools.choice import Required
from gateway.prompt.conversation import Tool
from tests.fakes import FakeEngine, stop, text
from tests.rpc import chat_request
from tests.rpc import client as rpc_client
from tests.steps import steps
from tests.wire import client

MAX_STEPS = 600_000
"""Lines of Python that the largest schema may take: some tenths of a second."""
REGEX = "|".join("abc"[i % 3] + "[^x]" for i in range(600))
NAMES = [f"name-{i}" for i in range(4000)]
ODD = r"\W" * 2000
UNFIT: dict[str, Any] = {"properties": {"x": {"not": {}}}}


@contextmanager
def lines_counted() -> Iterator[list[int]]:
    """Count the lines of Python that this thread runs in calls that begin inside."""
    count = [0]

    def trace(_: FrameType, event: str, __: Any) -> Any:
        count[0] += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


async def lines_here(work: Callable[[], Awaitable[object]]) -> int:
    """Return how many lines the event loop's thread runs until work is done."""
    with lines_counted() as count:
        await work()
    return count[0]


@pytest.mark.parametrize(
    "form",
    [
        regex_form(REGEX, "p"),
        grammar_form('root ::= "a"\n' + "".join(f'r{i} ::= "{i}"\n' for i in range(500)), "p"),
        choice_form([f"option {i}" for i in range(1000)], "p"),
        json_schema_form({"properties": {str(i): {} for i in range(100)}}, "p"),
        json_schema_form({"minimum": -1234567890.123456, "maximum": 98765432198765.654321}, "p"),
    ],
    ids=["regex", "grammar", "choice", "schema", "short schema"],
)
async def test_what_takes_long_is_compiled_beside_the_event_loop(form: Form) -> None:
    compiler = GuideCompiler()

    lines = await lines_here(lambda: compiler.guide(form))

    assert lines < 600
    assert steps(lambda: GuideCompiler().compile(form)) > 10 * lines
    compiler.close()


async def test_a_short_form_is_compiled_where_it_is_asked_for() -> None:
    compiler = GuideCompiler()
    asked = compiler.guide(regex_form("[a-z]+@[a-z]+", "p"))

    with pytest.raises(StopIteration) as done:  # it waits for nothing
        asked.send(None)

    assert isinstance(done.value.value, Guide)
    compiler.close()


@pytest.mark.parametrize("face", ["http", "grpc"])
async def test_a_large_guide_costs_the_event_loop_no_more_than_a_small_one(face: str) -> None:
    def body(pattern: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": "Hi"}]
        return {"model": "tiny", "messages": messages, "guided_regex": pattern}

    async with (
        client(FakeEngine([text("a"), stop()])) as http,
        rpc_client(FakeEngine([text("a"), stop()])) as rpc,
    ):

        async def ask(pattern: str) -> None:
            if face == "http":
                response = await http.post("/v1/chat/completions", json=body(pattern))
                assert response.status_code == 200
            else:
                await rpc.chat(chat_request(body(pattern)))

        await ask("warm")
        small = await lines_here(lambda: ask("a|b"))
        large = await lines_here(lambda: ask(f"{REGEX}|{face}"))

    assert large < small + 1000


async def test_a_form_is_compiled_once_and_refused_once() -> None:
    compiler = GuideCompiler()
    good, bad = json_schema_form({"const": 1}, "p"), json_schema_form({"not": {}}, "p")
    first = [await compiler.guide(good)]
    with pytest.raises(InvalidRequest):
        await compiler.guide(bad)

    again = steps(lambda: first.append(compiler.compile(good)))
    with pytest.raises(InvalidRequest, match="'p' cannot be enforced: 'not' is not enforced"):
        await compiler.guide(bad)

    assert first == [Guide(GuideKind.EBNF_GRAMMAR, 'root ::= "1"')] * 2
    assert again < 40
    compiler.close()


async def test_what_many_ask_for_at_once_is_compiled_once() -> None:
    compiler = GuideCompiler()
    form = json_schema_form({"properties": {str(i): {} for i in range(100)}}, "p")

    guides = await asyncio.gather(*(compiler.guide(form) for _ in range(20)))

    assert len({id(guide.text) for guide in guides if guide}) == 1
    compiler.close()


def test_the_tool_at_fault_is_named_and_for_what_is_too_large_all_are() -> None:
    many = {"properties": {f"p{i}": {"type": "string"} for i in range(250)}}
    tools = [Tool(f"t{i}", parameters=many, param=f"tools[{i}].parameters") for i in range(30)]
    one_bad = [*tools[:2], Tool("bad", parameters=UNFIT, param="tools[2].parameters")]

    for given, param in ((tools, "tools"), (one_bad, "tools[2].parameters")):
        form = call_form(given, Required(), parallel=True)
        with pytest.raises(InvalidRequest) as refusal:
            GuideCompiler().compile(form)  # type: ignore[arg-type]

        assert refusal.value.param == param


def test_strict_tools_are_compiled_for_their_faults_alone() -> None:
    loose = Tool("loose", parameters=UNFIT)
    fit = Tool("fit", parameters={"type": "object"}, strict=True)
    unfit = Tool("unfit", parameters=UNFIT, strict=True, param="tools[1].function.parameters")

    accepted = strict_form([loose, fit])
    refused = strict_form([loose, unfit])

    assert strict_form([loose]) is None
    assert accepted and GuideCompiler().compile(accepted) is None
    with pytest.raises(InvalidRequest, match="'not' is not enforced") as refusal:
        GuideCompiler().compile(refused)  # type: ignore[arg-type]
    assert refusal.value.param == "tools[1].function.parameters"


def doubled(depth: int, last: Any) -> dict[str, Any]:
    steps = {f"{i}": {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(depth)}
    return {**steps, str(depth): last}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "propertyNames": {"enum": NAMES}, "anyOf": [True] * 1000},
        {"prefixItems": [{"patternProperties": {ODD: True}}] * 30},
        {"prefixItems": [{"propertyNames": {"pattern": ODD}}] * 30},
        {
            "$defs": {"a": {"enum": NAMES}, "b": {"enum": NAMES[::-1]}},
            "allOf": [{"$ref": f"#/$defs/{'ab'[i % 2]}"} for i in range(1800)],
        },
        {"properties": {f"{i:03d}" * 28: {} for i in range(200)}, "additionalProperties": True},
        {"properties": {"é" * 40_000: True}, "required": ["é" * 40_000], "anyOf": [True] * 1000},
        {"const": {f"k{i}": [i, {"a": i}] for i in range(6000)}},
        {"oneOf": [{"const": [[i] for i in range(3000)] + [i]} for i in range(6)]},
        {
            "minLength": 1,
            "$ref": "#/$defs/0",
            "$defs": {**doubled(11, {"$ref": "#/$defs/" + "%41" * 9999}), "A" * 9999: {}},
        },
    ],
    ids=[
        "names", "patterns", "names of a pattern", "enums", "others", "long names", "constant",
        "oneOf", "long reference",
    ],
)  # fmt: skip
def test_no_schema_costs_more_than_the_work_that_is_allowed(schema: dict[str, Any]) -> None:
    def compiled() -> None:
        with pytest.raises(Unenforceable, match="too large"):
            schema_grammar(schema)

    assert steps(compiled) < MAX_STEPS


def test_a_format_is_written_once_however_often_it_is_meant() -> None:
    names = random.Random(1).sample(range(10_000), 200)

    grammar = schema_grammar({"properties": {str(n): {"format": "date-time"} for n in names}})

    assert grammar.count("T") < 10
