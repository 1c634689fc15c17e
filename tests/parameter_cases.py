"""What each request parameter does, case by case: at its bounds, past them, where it is refused."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from gateway.engine import Feature
from gateway.generation import Delta, Generation, Guide, GuideKind, Item
from gateway.guides.schema import schema_grammar
from tests.fakes import IM_END, IM_START, stop, text
from tests.unit.grammars import Grammar

HI = (text("Hi"), stop())


@dataclass(frozen=True)
class Outcome:
    """What came of a request: the answer, and what the engine was asked."""

    status: int
    body: Any
    requests: Sequence[Generation]


Check = Callable[[Outcome], None]


@dataclass(frozen=True)
class Case:
    """A value of a parameter; `given` goes with it, `script` is what the engine plays."""

    param: str
    value: Any
    check: Check
    given: dict[str, Any] = field(default_factory=dict)
    script: Sequence[Item] = HI


def sent(**attributes: Any) -> Check:
    """Expect the engine to be asked this; `sampling__seed` is the seed of its sampling."""

    def check(outcome: Outcome) -> None:
        assert outcome.status == 200, outcome.body
        for name, expected in attributes.items():
            assert attrgetter(name.replace("__", "."))(outcome.requests[0]) == expected

    return check


def prompted(*parts: str) -> Check:
    """Expect the prompt to hold all of these texts."""

    def check(outcome: Outcome) -> None:
        assert outcome.status == 200, outcome.body
        assert [part for part in parts if part not in outcome.requests[0].prompt.text] == []

    return check


def read_as(*token_ids: int) -> Check:
    return sent(prompt__token_ids=token_ids)


def ends_prompt(end: str) -> Check:
    def check(outcome: Outcome) -> None:
        assert outcome.status == 200, outcome.body
        assert outcome.requests[0].prompt.text.endswith(end)

    return check


def answered(expected: Any, *path: str | int) -> Check:
    """Expect this at a path of the answer."""

    def check(outcome: Outcome) -> None:
        assert outcome.status == 200, outcome.body
        found = outcome.body
        for step in path:
            found = found[step]
        assert found == expected

    return check


def refused(param: str, code: str = "invalid_value", status: int = 400) -> Check:
    """Expect an error that names the parameter, and an engine that was not asked."""

    def check(outcome: Outcome) -> None:
        assert outcome.status == status, outcome.body
        assert outcome.body["error"]["param"] == param
        assert outcome.body["error"]["code"] == code
        assert not outcome.requests

    return check


def unsupported(param: str) -> Check:
    return refused(param, "unsupported_parameter")


def schema_guide(schema: dict[str, str]) -> Check:
    return sent(guide=Guide(GuideKind.EBNF_GRAMMAR, schema_grammar(schema)))


CONTENT = ("choices", 0, "message", "content")
TEXT = ("choices", 0, "text")
STOPPED = (text("one END two"), stop())
SPECIALS = (Delta(0, [*b"a", IM_START, *b"b"]), stop())
LOGPROBS = (Delta(0, list(b"Hi"), [-0.5, -1.0]), stop())
TOPS = (Delta(0, list(b"Hi"), [-0.5, -1.0], [[(72, -0.5), (74, -0.75)], [(105, -1.0)]]), stop())
TOO_MANY = 10**6
UINT64 = 2**64

SHARED = [
    Case("model", "tiny-alias", answered("tiny", "model")),
    Case("model", "", refused("model", "model_not_found", 404)),
    Case("model", "other", refused("model", "model_not_found", 404)),
    Case("stream", False, sent(streaming=False)),
    Case("stream", True, sent(streaming=True)),
    Case("stream_options", {"include_usage": True}, refused("stream_options")),
    Case("temperature", 0, sent(sampling__temperature=0.0)),
    Case("temperature", 2, sent(sampling__temperature=2.0)),
    Case("temperature", 2.01, refused("temperature")),
    Case("temperature", -0.01, refused("temperature")),
    Case("top_p", 0, sent(sampling__temperature=0.0, sampling__top_p=1.0)),
    Case("top_p", 1, sent(sampling__top_p=1.0)),
    Case("top_p", 0.1, sent(sampling__top_p=0.1)),
    Case("top_p", 1.01, refused("top_p")),
    Case("n", 1, sent(num_sequences=1)),
    Case("n", 128, sent(num_sequences=128), script=[stop(128)]),
    Case("n", 1.0, sent(num_sequences=1)),
    Case("n", 1.5, refused("n")),
    Case("n", 129, refused("n")),
    Case("n", 0, refused("n")),
    Case("seed", -(2**63), sent(sampling__seed=2**63)),
    Case("seed", 2**63 - 1, sent(sampling__seed=2**63 - 1)),
    Case("seed", 5.0, sent(sampling__seed=5)),
    Case("seed", -1, sent(sampling__seed=UINT64 - 1)),
    Case("seed", 2**63, refused("seed")),
    Case("stop", "", refused("stop")),
    Case("stop", ["a", ""], refused("stop")),
    Case("stop", list(map(str, range(64))), sent(streaming=True)),
    Case("stop", ["a"] * 65, refused("stop")),
    Case("frequency_penalty", -2, sent(sampling__frequency_penalty=-2.0)),
    Case("frequency_penalty", 2, sent(sampling__frequency_penalty=2.0)),
    Case("frequency_penalty", 2.01, refused("frequency_penalty")),
    Case("presence_penalty", -2, sent(sampling__presence_penalty=-2.0)),
    Case("presence_penalty", 2, sent(sampling__presence_penalty=2.0)),
    Case("presence_penalty", -2.01, refused("presence_penalty")),
    Case("logit_bias", {"0": -100, "257": 100}, sent(logit_bias=((0, -100.0), (257, 100.0)))),
    Case("logit_bias", {}, sent(logit_bias=())),
    Case("logit_bias", {"258": 1}, refused("logit_bias")),
    Case("logit_bias", {"1": 100.5}, refused("logit_bias")),
    Case("logit_bias", {"one": 1}, refused("logit_bias.one")),
    Case("logit_bias", {str(i): 0 for i in range(1025)}, refused("logit_bias")),
    Case("top_k", -1, sent(sampling__top_k=0)),
    Case("top_k", 0, sent(sampling__top_k=0)),
    Case("top_k", 2**31 - 1, sent(sampling__top_k=2**31 - 1)),
    Case("top_k", 2**31, refused("top_k")),
    Case("top_k", -2, refused("top_k")),
    Case("min_p", 0, sent(sampling__min_p=0.0)),
    Case("min_p", 1, sent(sampling__min_p=1.0)),
    Case("min_p", 1.01, refused("min_p")),
    Case("repetition_penalty", 10, sent(sampling__repetition_penalty=10.0)),
    Case("repetition_penalty", 0.01, sent(sampling__repetition_penalty=0.01)),
    Case("repetition_penalty", 0, refused("repetition_penalty")),
    Case("repetition_penalty", 10.01, refused("repetition_penalty")),
    Case("min_tokens", 0, sent(min_tokens=0)),
    Case("min_tokens", 9, sent(min_tokens=9)),
    Case("min_tokens", TOO_MANY, refused("min_tokens")),
    Case("min_tokens", -1, refused("min_tokens")),
    Case("ignore_eos", True, sent(end_ids=())),
    Case("ignore_eos", False, sent(end_ids=(IM_END,))),
    Case("stop_token_ids", [0, 255], sent(end_ids=(IM_END, 0, 255))),
    Case("stop_token_ids", [5.0], sent(end_ids=(IM_END, 5))),
    Case("stop_token_ids", [], sent(end_ids=(IM_END,))),
    Case("stop_token_ids", [258], refused("stop_token_ids")),
    Case("stop_token_ids", [-1], refused("stop_token_ids[0]")),
    Case("stop_token_ids", list(range(65)), refused("stop_token_ids")),
    Case("bad_words", ["ab", "c"], sent(bad_words=((97, 98), (99,)))),
    Case("bad_words", [], sent(bad_words=())),
    Case("bad_words", [""], refused("bad_words")),
    Case("bad_words", ["a"] * 65, refused("bad_words")),
    Case("response_format", {"type": "text"}, sent(guide=None)),
    Case("response_format", {"type": "json_object"}, schema_guide({"type": "object"})),
    Case(
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}},
        schema_guide({"type": "null"}),
    ),
    Case(
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n"}},
        schema_guide({"type": "object"}),
    ),
    Case(
        "response_format",
        {"type": "json_schema"},
        refused("response_format.json_schema"),
    ),
    Case(
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "n", "schema": {"not": {}}}},
        refused("response_format.json_schema.schema"),
    ),
    Case("response_format", {"type": "xml"}, refused("response_format.type")),
    Case("guided_json", {"type": "null"}, schema_guide({"type": "null"})),
    Case("guided_json", '{"type": "null"}', schema_guide({"type": "null"})),
    Case("guided_json", "{", refused("guided_json")),
    Case("guided_regex", "a" * 4097, refused("guided_regex")),
    Case("guided_json", {"type": "nonsense"}, refused("guided_json")),
    Case("guided_regex", "a+", sent(guide=Guide(GuideKind.EBNF_GRAMMAR, "root ::= [a]+"))),
    Case("guided_regex", "a(", refused("guided_regex")),
    Case("guided_regex", "", refused("guided_regex")),
    Case(
        "guided_grammar",
        'root ::= "a"',
        sent(guide=Guide(GuideKind.EBNF_GRAMMAR, 'root ::= "a"')),
    ),
    Case("guided_grammar", "root ::= (", refused("guided_grammar")),
    Case("guided_regex", "(" * 50_000, refused("guided_regex")),
    Case("guided_grammar", "", refused("guided_grammar")),
    Case(
        "guided_choice",
        ["a", "b"],
        sent(guide=Guide(GuideKind.EBNF_GRAMMAR, 'root ::= "a" | "b"')),
    ),
    Case("guided_choice", [], refused("guided_choice")),
    Case("guided_choice", ["a"], refused("guided_choice"), {"guided_regex": "a"}),
    Case(
        "structured_outputs",
        {"regex": "a+"},
        sent(guide=Guide(GuideKind.EBNF_GRAMMAR, "root ::= [a]+")),
    ),
    Case("structured_outputs", {}, refused("structured_outputs")),
    Case("structured_outputs", {"regex": "(?=x)a"}, refused("structured_outputs.regex")),
    Case("structured_outputs", {"json": "{"}, refused("structured_outputs.json")),
    Case("return_token_ids", True, answered([72, 105], "choices", 0, "token_ids")),
]

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA}
TOOLS = {"tools": [{"type": "function", "function": WEATHER}]}
NAMED = {"type": "function", "function": {"name": "weather"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
CALL = '{"name": "weather", "parameters": {"city": "Paris"}}'
ONE_CALL = (text(CALL), stop())
TWO_CALLS = (text(f"{CALL}\n{CALL}"), stop())
UNFINISHED = {
    "messages": [{"role": "user", "content": "Go"}, {"role": "assistant", "content": "On"}]
}
GOES_ON = {**UNFINISHED, "continue_final_message": True}


CALLS = [{"name": "weather", "parameters": {"city": "Paris"}}]
LISTED_CALLS = (text(f"[{CALL}, {CALL}]"), stop())
REPORT_SCHEMA = {
    "type": "object",
    "properties": {"report": {"$ref": "#/$defs/words"}},
    "required": ["report"],
    "additionalProperties": False,
    "$defs": {"words": {"type": "string"}},
}
REPORT = {"type": "json_schema", "json_schema": {"name": "report", "schema": REPORT_SCHEMA}}
REPORTED = (text('{"report":"x"}'), stop())
FUNCTION_TURNS = [
    {"role": "user", "content": "How is the weather in Paris?"},
    {
        "role": "assistant",
        "content": None,
        "function_call": {"name": "weather", "arguments": '{"city": "Paris"}'},
    },
    {"role": "function", "name": "weather", "content": "21 degrees"},
]


def bound_to(*answers: Any) -> Check:
    """Expect a guide that lets pass these answers, and others of the same kinds alone."""
    known = [CALLS, CALLS[0], {"report": "x"}]

    def check(outcome: Outcome) -> None:
        assert outcome.status == 200, outcome.body
        guide = outcome.requests[0].guide
        assert guide and guide.kind is GuideKind.EBNF_GRAMMAR
        grammar = Grammar(guide.text)
        assert all(grammar.accepts(json.dumps(answer)) for answer in answers)
        others = [json.dumps(answer) for answer in known if answer not in answers]
        assert {"any": 1} in answers or not any(map(grammar.accepts, others))

    return check


def called_in_the_old_form(finish_reason: str) -> Check:
    """Expect one call as `function_call`, and nothing of tools."""

    def check(outcome: Outcome) -> None:
        assert outcome.status == 200, outcome.body
        [choice] = outcome.body["choices"]
        assert choice["message"] == {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "function_call": {"name": "weather", "arguments": '{"city": "Paris"}'},
        }
        assert choice["finish_reason"] == finish_reason

    return check


def calls(*names: str) -> Check:
    """Expect the answer to call these functions."""

    def check(outcome: Outcome) -> None:
        assert outcome.status == 200, outcome.body
        choice = outcome.body["choices"][0]
        found = [call["function"]["name"] for call in choice["message"].get("tool_calls", [])]
        assert found == list(names)

    return check


def guided(outcome: Outcome) -> None:
    """Expect a guide that holds the answer to a call."""
    assert outcome.status == 200, outcome.body
    guide = outcome.requests[0].guide
    assert guide and '\\"weather\\"' in guide.text


def not_told(outcome: Outcome) -> None:
    """Expect a prompt without a word of the tools."""
    assert outcome.status == 200, outcome.body
    assert "weather" not in outcome.requests[0].prompt.text


CHAT = [
    *SHARED,
    Case("stop", "END", answered("one ", *CONTENT), script=STOPPED),
    Case("stop", ["x", "END"], answered("one ", *CONTENT), script=STOPPED),
    Case("stop", [], answered("one END two", *CONTENT), script=STOPPED),
    Case("skip_special_tokens", True, answered("ab", *CONTENT), script=SPECIALS),
    Case("skip_special_tokens", False, answered("a<|im_start|>b", *CONTENT), script=SPECIALS),
    Case(
        "include_stop_str_in_output",
        True,
        answered("one END", *CONTENT),
        {"stop": "END"},
        STOPPED,
    ),
    Case("messages", [], refused("messages")),
    Case("messages", [{"role": "user", "content": "Yo"}], prompted("Yo")),
    Case("messages", [{"role": "developer", "content": "Yo"}], prompted("system\nYo")),
    Case(
        "messages",
        [{"role": "user", "content": [{"type": "text", "text": t} for t in ("A", "B")]}],
        prompted("AB"),
    ),
    Case(
        "messages",
        [{"role": "user", "content": ["A", {"type": "input_text", "text": "B"}]}],
        prompted("AB"),
    ),
    Case(
        "messages",
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        refused("messages[0].content[0]", "unsupported_content"),
    ),
    Case("max_completion_tokens", 1, sent(max_tokens=1)),
    Case("max_completion_tokens", 5.0, sent(max_tokens=5)),
    Case("max_completion_tokens", 5.5, refused("max_completion_tokens")),
    Case("max_completion_tokens", 2, sent(max_tokens=2), {"max_tokens": 1}),
    Case("max_completion_tokens", 0, refused("max_completion_tokens")),
    Case("max_completion_tokens", TOO_MANY, refused("messages", "context_length_exceeded")),
    Case("max_tokens", 1, sent(max_tokens=1)),
    Case("max_tokens", 0, refused("max_tokens")),
    Case("max_tokens", 2**31, refused("max_tokens")),
    Case("logprobs", True, sent(logprobs=True), script=LOGPROBS),
    Case(
        "logprobs",
        True,
        answered(-1.0, "choices", 0, "logprobs", "content", 1, "logprob"),
        script=LOGPROBS,
    ),
    Case("logprobs", False, answered(None, "choices", 0, "logprobs")),
    Case("top_logprobs", 0, sent(logprobs=True), {"logprobs": True}),
    Case("top_logprobs", 1, sent(logprobs=True, num_top=1), {"logprobs": True}, TOPS),
    Case(
        "top_logprobs",
        2,
        answered(
            [
                {"token": "H", "logprob": -0.5, "bytes": [72]},
                {"token": "J", "logprob": -0.75, "bytes": [74]},
            ],
            *("choices", 0, "logprobs", "content", 0, "top_logprobs"),
        ),
        {"logprobs": True},
        TOPS,
    ),
    Case("top_logprobs", 1, refused("top_logprobs")),
    Case(
        "top_logprobs",
        1,
        answered(
            [{"token": "i", "logprob": -1.0, "bytes": [105]}],
            *("choices", 0, "logprobs", "content", 1, "top_logprobs"),
        ),
        {"logprobs": True, "temperature": 0},
        LOGPROBS,
    ),
    Case("top_logprobs", 0, refused("top_logprobs")),
    Case("top_logprobs", 21, refused("top_logprobs"), {"logprobs": True}),
    Case("tools", TOOLS["tools"], prompted("weather", "city")),
    Case("tools", TOOLS["tools"], calls("weather"), script=ONE_CALL),
    Case("tools", [{"type": "function", **WEATHER}], calls("weather"), script=ONE_CALL),
    Case("tools", [], not_told),
    Case("tools", TOOLS["tools"] * 2, refused("tools[1]")),
    Case("tools", [{"type": "custom", "custom": {"name": "x"}}], refused("tools[0]")),
    Case("tool_choice", "auto", prompted("weather"), TOOLS),
    Case("tool_choice", "none", not_told, TOOLS),
    Case("tool_choice", "none", calls(), TOOLS, ONE_CALL),
    Case("tool_choice", "required", guided, TOOLS),
    Case("tool_choice", NAMED, guided, TOOLS),
    Case("tool_choice", ALLOWED, prompted("weather"), TOOLS),
    Case("tool_choice", "sometimes", refused("tool_choice"), TOOLS),
    Case("tool_choice", "required", refused("tool_choice")),
    Case("tool_choice", {"type": "custom", "custom": {"name": "x"}}, refused("tool_choice"), TOOLS),
    Case("response_format", REPORT, calls("weather"), TOOLS, ONE_CALL),
    Case("response_format", REPORT, calls("weather", "weather"), TOOLS, LISTED_CALLS),
    Case("response_format", REPORT, answered('{"report":"x"}', *CONTENT), TOOLS, REPORTED),
    Case("response_format", REPORT, prompted("If you do not call a function", "report"), TOOLS),
    Case("response_format", REPORT, bound_to(CALLS[0], {"report": "x"}, CALLS), TOOLS),
    Case(
        "response_format",
        REPORT,
        bound_to(CALLS[0], {"report": "x"}),
        {**TOOLS, "parallel_tool_calls": False},
    ),
    Case("response_format", REPORT, bound_to(CALLS), {**TOOLS, "tool_choice": "required"}),
    Case("response_format", REPORT, bound_to(CALLS[0]), {**TOOLS, "tool_choice": NAMED}),
    Case("response_format", REPORT, bound_to({"report": "x"}), {**TOOLS, "tool_choice": "none"}),
    Case("response_format", REPORT, calls("weather"), {**TOOLS, "tool_choice": ALLOWED}, ONE_CALL),
    Case(
        "response_format",
        {"type": "json_object"},
        bound_to(CALLS[0], {"any": 1}, CALLS),
        TOOLS,
    ),
    Case("guided_json", REPORT_SCHEMA, bound_to(CALLS[0], {"report": "x"}, CALLS), TOOLS),
    Case("guided_regex", "a+", calls(), TOOLS, ONE_CALL),
    Case("guided_regex", "a+", bound_to(CALLS), {**TOOLS, "tool_choice": "required"}),
    Case("functions", [WEATHER], prompted("weather", "city")),
    Case("functions", [WEATHER], called_in_the_old_form("function_call"), script=ONE_CALL),
    Case("functions", [WEATHER], called_in_the_old_form("function_call"), script=TWO_CALLS),
    Case("functions", [WEATHER], answered("Hi", *CONTENT)),
    Case(
        "function_call",
        {"name": "weather"},
        called_in_the_old_form("stop"),
        {"functions": [WEATHER]},
        ONE_CALL,
    ),
    Case("messages", FUNCTION_TURNS, prompted("weather", "Paris", "21 degrees")),
    Case("function_call", "none", not_told, {"functions": [WEATHER]}),
    Case("function_call", {"name": "weather"}, guided, {"functions": [WEATHER]}),
    Case("function_call", {"name": "x"}, refused("function_call"), {"functions": [WEATHER]}),
    Case("parallel_tool_calls", True, calls("weather", "weather"), TOOLS, TWO_CALLS),
    Case("parallel_tool_calls", False, calls("weather"), TOOLS, TWO_CALLS),
    Case("reasoning_effort", "high", prompted("[high]")),
    Case("chat_template_kwargs", {"mood": "bright"}, prompted("[bright]")),
    Case("add_generation_prompt", True, ends_prompt("assistant\n")),
    Case("add_generation_prompt", False, ends_prompt("<|im_end|>\n")),
    Case("continue_final_message", True, ends_prompt("assistant\nOn"), UNFINISHED),
    Case(
        "continue_final_message",
        True,
        refused("continue_final_message"),
        {**UNFINISHED, "add_generation_prompt": True},
    ),
    Case("echo", True, answered("OnHi", *CONTENT), GOES_ON),
    Case("echo", False, answered("Hi", *CONTENT), GOES_ON),
    Case("add_special_tokens", False, answered("Hi", *CONTENT)),
    Case("add_special_tokens", True, unsupported("add_special_tokens")),
    Case("modalities", ["text"], answered("Hi", *CONTENT)),
    Case("modalities", ["text", "audio"], unsupported("modalities")),
]

COMPLETION = [
    *SHARED,
    Case("stop", "END", answered("one ", *TEXT), script=STOPPED),
    Case("skip_special_tokens", True, answered("ab", *TEXT), script=SPECIALS),
    Case("skip_special_tokens", False, answered("a<|im_start|>b", *TEXT), script=SPECIALS),
    Case("include_stop_str_in_output", True, answered("one END", *TEXT), {"stop": "END"}, STOPPED),
    Case("prompt", "Yo", prompted("Yo")),
    Case("prompt", [89, 111], sent(prompt__token_ids=(89, 111))),
    Case("parse_special_tokens", True, read_as(104, IM_END, 105), {"prompt": "h<|im_end|>i"}),
    Case("parse_special_tokens", False, read_as(*b"h<|im_end|>i"), {"prompt": "h<|im_end|>i"}),
    Case("add_special_tokens", False, read_as(*b"Hi")),
    Case("add_special_tokens", True, read_as(*b"Hi")),
    Case("prompt", [89.0, 111.0], sent(prompt__token_ids=(89, 111))),
    Case("prompt", "", refused("prompt")),
    Case("prompt", [], refused("prompt")),
    Case("prompt", [[]], refused("prompt")),
    Case("prompt", [258], refused("prompt")),
    Case("prompt", ["a"] * 1025, refused("prompt")),
    Case("max_tokens", 0, refused("max_tokens")),
    Case("max_tokens", 0, answered("Hi", *TEXT), {"echo": True}),
    Case("max_tokens", 1, sent(max_tokens=1)),
    Case("max_tokens", TOO_MANY, refused("prompt", "context_length_exceeded")),
    Case("logprobs", 0, sent(logprobs=True), script=LOGPROBS),
    Case("logprobs", 2, sent(num_prompt=2), {"echo": True}, TOPS),
    Case("logprobs", 0, sent(num_prompt=0), {"echo": True}, LOGPROBS),
    Case(
        "logprobs",
        0,
        refused("max_tokens", "unsupported_parameter"),
        {"echo": True, "max_tokens": 0},
    ),
    Case("logprobs", 1, sent(logprobs=True), {"temperature": 0}, LOGPROBS),
    Case("logprobs", 2, sent(num_top=2), script=TOPS),
    Case(
        "logprobs",
        2,
        answered([{"H": -0.5, "J": -0.75}, {"i": -1.0}], "choices", 0, "logprobs", "top_logprobs"),
        script=TOPS,
    ),
    Case("logprobs", 6, refused("logprobs")),
    Case("echo", True, answered("HiHi", *TEXT)),
    Case("echo", False, answered("Hi", *TEXT)),
    Case("best_of", 20, sent(num_sequences=20), script=[stop(20)]),
    Case("best_of", 1, refused("best_of"), {"n": 2}),
    Case("best_of", 21, refused("best_of")),
    Case("best_of", 0, refused("best_of")),
    Case("suffix", "", answered("Hi", *TEXT)),
    Case("suffix", "x", unsupported("suffix")),
]

NEEDS = {
    "n": (2, Feature.NUM_SEQUENCES),
    "logit_bias": ({"1": 1}, Feature.LOGIT_BIAS),
    "min_p": (0.5, Feature.MIN_P),
    "repetition_penalty": (1.1, Feature.REPETITION_PENALTY),
    "min_tokens": (1, Feature.MIN_TOKENS),
    "ignore_eos": (True, Feature.STOP_TOKEN_IDS),
    "stop_token_ids": ([1], Feature.STOP_TOKEN_IDS),
    "bad_words": (["a"], Feature.BAD_WORDS),
    "skip_special_tokens": (False, Feature.TOKEN_IDS),
    "return_token_ids": (True, Feature.TOKEN_IDS),
    "response_format": ({"type": "json_object"}, Feature.GUIDED_DECODING),
    "guided_json": ({}, Feature.GUIDED_DECODING),
    "guided_regex": ("a", Feature.GUIDED_DECODING),
    "guided_grammar": ("root ::= [a]", Feature.GUIDED_DECODING),
    "guided_choice": (["a"], Feature.GUIDED_DECODING),
    "structured_outputs": ({"regex": "a"}, Feature.GUIDED_DECODING),
}
"""A value of each parameter that needs a feature of the engine, and that feature."""
