"""Tool calls in every format: the same for every split, and nothing lost that is no call."""

import json
from collections.abc import Callable, Iterable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.output.tools.events import CallArguments, CallBegin, CallEnd, Text, ToolEvent
from gateway.output.tools.parsers import PARSERS, default_parser_for
from gateway.traffic.size import MAX_HELD
from tests.steps import growth
from tests.unit.splitting import pieces

NAMES = ("get_weather", "get", "brave_search")
TAG = "<|python_tag|>"

Joined = list[tuple[str, ...]]


def joined(events: Iterable[ToolEvent]) -> Joined:
    """Events with neighbouring pieces of one kind made one."""
    out: Joined = []
    for event in events:
        match event:
            case CallBegin(name):
                out.append(("call", name, ""))
            case CallArguments(text):
                _, name, before = out[-1]
                out[-1] = ("call", name, before + text)
            case CallEnd():
                out[-1] = ("whole", *out[-1][1:])
            case Text(text) if out and out[-1][0] == "text":
                out[-1] = ("text", out[-1][1] + text)
            case Text(text):
                out.append(("text", text))
    return out


def parsed(
    format_name: str, deltas: Iterable[str], *, keep_markers: bool = False
) -> list[ToolEvent]:
    parser = PARSERS[format_name](NAMES, keep_markers=keep_markers)
    events = [event for delta in deltas for event in parser.push(delta)]
    return [*events, *parser.finish()]


def read(format_name: str, deltas: Iterable[str], *, keep_markers: bool = False) -> Joined:
    return joined(parsed(format_name, deltas, keep_markers=keep_markers))


WEATHER = ("whole", "get_weather", '{"city": "Paris"}')
GET = ("whole", "get", "{}")
CALL = '{"name": "get", "parameters": {}}'

CASES = [
    ("json", '{"name": "get_weather", "parameters": {"city": "Paris"}}', [WEATHER]),
    ("json", '{"name":"get_weather","arguments":{"city": "Paris"}}', [WEATHER]),
    ("json", '{"type": "function", "name": "get", "parameters": {}}', [GET]),
    ("json", '{"parameters": {"city": "Paris"}, "name": "get_weather"}', [WEATHER]),
    ("json", '[{"name": "get", "parameters": {}}]', [GET]),
    (
        "json",
        '\n[ {"name": "get", "parameters": {}} ,\n {"name": "get_weather", "parameters":'
        ' {"city": "Paris"}, "id": [1, "}"]} ]\n',
        [GET, WEATHER],
    ),
    (
        "json",
        '{"name": "get", "parameters": {"a": "}\\"{", "b": [{"c": "\\\\"}], "d": "日本 😀"}}',
        [("whole", "get", '{"a": "}\\"{", "b": [{"c": "\\\\"}], "d": "日本 😀"}')],
    ),
    ("json", '{"name": "get", "parameters": {}', [GET]),
    ("json", '{"name": "get", "parameters": {"a": [1, 2', [("call", "get", '{"a": [1, 2')]),
    ("json", '{"name": "get", "parameters": {}} done', [GET, ("text", " done")]),
    ("json", '{"name": "get", "parameters": {}, "id": "x', [GET, ("text", ', "id": "x')]),
    (
        "json",
        '[{"name": "get", "parameters": {}}, {"name": "x"}]',
        [GET, ("text", ', {"name": "x"}]')],
    ),
    ("json", '{"name": "delete", "parameters": {}}', "text"),
    ("json", '{"name": "get", "parameters": "x"}', "text"),
    ("json", '{"name": "get", "answer": 42}', "text"),
    ("json", '{"answer": "get"}', "text"),
    ("json", '{"name": "get"}', "text"),
    ("json", '{"name": "get", "par', "text"),
    ("json", '{"parameters": {"city": "Paris"}, "name": "delete"}', "text"),
    ("json", '{"parameters": {"city": "Par', "text"),
    ("json", '[1, 2, {"name": "get", "parameters": {}}]', "text"),
    ("json", "[]", "text"),
    ("json", 'Sure: {"name": "get", "parameters": {}}', "text"),
    ("json", " \n ", "text"),
    ("llama3_json", f"{CALL}; {CALL}", [GET] * 2),
    ("llama3_json", f"{CALL}\n{CALL}", [GET] * 2),
    ("llama3_json", f'{TAG}{{"name": "get", "parameters": {{}}}}', [GET]),
    ("llama3_json", f'{TAG}{{"name": "get", "parameters": {{}}}}; {TAG} {{"name": "get", '
     '"parameters": {}};', [GET] * 2),
    ("llama3_json", f"{TAG}brave_search.call(query=\"it's, (5)\")",
     [("whole", "brave_search", '{"query": "it\'s, (5)"}')]),
    ("llama3_json", f"{TAG}get.call()", [GET]),
    ("llama3_json", f"{TAG}import os\nprint(1 < 2)", [("text", "import os\nprint(1 < 2)")]),
    ("llama3_json", f"\n{TAG} x", [("text", "\n x")]),
    ("llama3_json", f"see {TAG}get.call()", [("text", "see "), GET]),
    ("llama3_json", '<function=get_weather>{"city": "Paris"}</function>', [WEATHER]),
    ("llama3_json", '<function=get_weather>{"city": "Paris"}</function>\n<function=get>{}',
     [WEATHER, GET]),
    ("llama3_json", "<function=get>{}</fun", [GET]),
    ("llama3_json", '<function=get>{"a": 1', [("call", "get", '{"a": 1')]),
    ("llama3_json", "a <function=get>{}</function> b", [("text", "a "), GET, ("text", " b")]),
    ("llama3_json", "<function=delete>{}</function>", "text"),
    ("llama3_json", "<function=get>x", "text"),
    ("llama3_json", "a << b <function", "text"),
    ("llama3_json", "brave_search.call(query='x')", "text"),
    ("hermes", '<tool_call>\n{"name": "get", "arguments": {}}\n</tool_call>', [GET]),
    ("hermes", 'Let me.\n<tool_call>{"arguments": {"city": "Paris"}, "name": "get_weather"}'
     f"</tool_call>\n<tool_call>{CALL}", [("text", "Let me.\n"), WEATHER, GET]),
    ("hermes", "<tool_call>hello</tool_call>", "text"),
    ("hermes", '{"name": "get", "arguments": {}}', "text"),
    ("llama3_pythonic", "[get_weather(city='Paris')]", [WEATHER]),
    ("llama3_pythonic", '[get(), get_weather( city = "Paris" , )]', [GET, WEATHER]),
    ("llama3_pythonic", "[get(a=1, b=[True, {'c': None}, (2,)], d='),]')]",
     [("whole", "get", '{"a": 1, "b": [true, {"c": null}, [2]], "d": "),]"}')]),
    ("llama3_pythonic", "[get(unit=celsius)]", [("whole", "get", '{"unit": "celsius"}')]),
    ("llama3_pythonic", f"{TAG}[get()]", [GET]),
    ("llama3_pythonic", "[get(a=1, b='x", [("call", "get", '{"a": 1')]),
    ("llama3_pythonic", "[get(), get", [GET, ("text", ", get")]),
    ("llama3_pythonic", "[get(),", [GET]),
    ("llama3_pythonic", "[get(a=1, 2)]", [("call", "get", '{"a": 1'), ("text", ", 2)]")]),
    ("llama3_pythonic", "[get(1)]", "text"),
    ("llama3_pythonic", "[delete(a=1)]", "text"),
    ("llama3_pythonic", "[1, 2]", "text"),
    ("llama3_pythonic", "get(a=1)", "text"),
]  # fmt: skip


@pytest.mark.parametrize(("format_name", "text", "expected"), CASES)
def test_a_text_is_read_as_its_format_says(
    format_name: str, text: str, expected: Joined | str
) -> None:
    found = read(format_name, [text])

    assert found == ([("text", text)] if expected == "text" else expected)


@pytest.mark.parametrize(("format_name", "text", "expected"), CASES)
def test_one_character_at_a_time_reads_the_same(
    format_name: str, text: str, expected: object
) -> None:
    assert read(format_name, list(text)) == read(format_name, [text])


FRAGMENTS = [
    *('{"name": "get", "parameters": ', '{"a": "}\\"{"}', "{}", "}", "{", "[", "]", "[get("),
    *('"', "\\", ", ", "; ", "\n", "get_weather", '"name": ', '"arguments": ', "get(", "(", "'"),
    *("<", "<function=get>", "</function>", TAG, "brave_search.call(", "a=1", "b='x\\'y'", ")"),
    *("<tool_call>", "</tool_call>", '{"parameters": {"a": 1}, "name": "get"}', "hello", "é😀"),
    *('"type": "function"', CALL),
]


def drawn(seed: int) -> str:
    chance = Random(seed)
    return "".join(chance.choices(FRAGMENTS, k=chance.randrange(14)))


@pytest.mark.parametrize("format_name", PARSERS)
@settings(max_examples=10_000, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_every_split_reads_the_same_and_a_text_without_a_call_is_content(
    format_name: str, seed: int
) -> None:
    text = drawn(seed)

    found = read(format_name, pieces(text, seed), keep_markers=True)

    assert found == read(format_name, [text], keep_markers=True)
    assert any(kind != "text" for kind, *_ in found) or found == [("text", text)] * bool(text)


@settings(max_examples=1_000, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_calls_that_a_model_writes_come_back_as_they_were(seed: int) -> None:
    chance = Random(seed)
    calls = [(chance.choice(NAMES), arguments(chance)) for _ in range(chance.randint(1, 3))]
    bodies = [json.dumps({"name": name, "parameters": given}) for name, given in calls]
    text = chance.choice([f"[{', '.join(bodies)}]", "; ".join(bodies), TAG + "\n".join(bodies)])

    found = read("llama3_json", pieces(text, seed))

    assert [(name, json.loads(given)) for _, name, given in found] == calls


def arguments(chance: Random) -> dict[str, object]:
    values: Sequence[object] = (1, -2.5, None, True, "}{\"'\\", [{"é": "😀\n"}], {"n": {}}, "")
    return {key: chance.choice(values) for key in chance.sample("abcd", chance.randrange(4))}


def test_arguments_are_streamed_as_the_model_writes_them() -> None:
    parser = PARSERS["llama3_json"](NAMES)

    events = [parser.push(d) for d in ('{"name": "get", "para', 'meters": {"a', '": 1', "}", "}")]

    assert events == [
        [],
        [CallBegin("get"), CallArguments('{"a')],
        [CallArguments('": 1')],
        [CallArguments("}"), CallEnd()],
        [],
    ]


def test_content_is_held_back_only_while_it_may_be_a_call() -> None:
    parser = PARSERS["llama3_json"](NAMES)

    events = [parser.push(delta) for delta in ("{", '"n', "o", "de", " <", "fun", "ny")]

    texts = ["", "", '{"no', "de", " ", "", "<funny"]
    assert events == [[Text(text)] if text else [] for text in texts]


@pytest.mark.parametrize(
    ("keep_markers", "expected"), [(True, f"{TAG}print(1)"), (False, "print(1)")]
)
def test_the_python_tag_before_code_is_content_only_where_special_tokens_are_kept(
    keep_markers: bool, expected: str
) -> None:
    assert read("llama3_json", [TAG, "print(1)"], keep_markers=keep_markers) == [("text", expected)]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("llama-3.1", "llama3_json"),
        ("llama-3.2", "llama3_json"),
        ("chatml", "hermes"),
        ("x", "json"),
    ],
)
def test_a_template_has_a_default_format(template: str, expected: str) -> None:
    assert default_parser_for(template) == expected


LONG = {
    "json": ('{"name": "get", "parameters": {"a": "', '{\\"x', '"}}'),
    "hermes": ('<tool_call>{"arguments": {"a": [', '{"b": 1},', '0]}, "name": "get"}</tool_call>'),
    "llama3_json": ("text ", "<fun {", "<function=get>{}</function>"),
    "llama3_pythonic": ("[get(a='", "x\\'(,", "')]"),
}


@pytest.mark.parametrize("format_name", LONG)
def test_cost_is_linear_in_the_length_of_the_text(format_name: str) -> None:
    head, unit, tail = LONG[format_name]

    def reading(size: int) -> Callable[[], list[ToolEvent]]:
        text = head + unit * (size // len(unit)) + tail
        return lambda: parsed(format_name, (text[i : i + 4] for i in range(0, len(text), 4)))

    assert isinstance(reading(1000)()[-1], CallEnd)
    assert growth(reading, 10_000, 100_000) < 10.5


HELD = {
    "arguments before the name": ("json", '{"parameters": {"a": "', "x"),
    "arguments as a string": ("json", '{"name": "get", "parameters": "', "x"),
    "white space": ("json", "", " "),
    "a list without end": ("hermes", '<tool_call>{"arguments": {"a": [', '"b",'),
    "a value of Python": ("llama3_pythonic", "[get(a='", "x"),
    "a second value of Python": ("llama3_pythonic", "[get(a=1, b='", "x"),
}


@pytest.mark.parametrize(("format_name", "head", "unit"), HELD.values(), ids=HELD)
def test_no_more_is_held_back_than_may_be(format_name: str, head: str, unit: str) -> None:
    parser = PARSERS[format_name](NAMES)
    piece = unit * (4096 // len(unit))

    events = parser.push(head)
    for _ in range(2 * MAX_HELD // len(piece)):
        events += parser.push(piece)
    told = sum(len(event.text) for event in events if isinstance(event, Text))
    after = parser.push(piece)

    assert told > MAX_HELD
    assert after == [Text(piece)]
    assert parser.push("end")[-1] == Text("end")
