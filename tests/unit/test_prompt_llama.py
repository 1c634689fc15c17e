"""What the built-in Llama 3 templates write."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import InvalidRequest
from gateway.prompt.conversation import Conversation, Message, Role, Tool, ToolCall
from gateway.prompt.llama import Llama3Template
from gateway.prompt.pieces import ChatTemplate, Text
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer
from tests.unit.conversations import CALL, CHAT, TOOL_CHAT, WEATHER, fixed_clock

PLAIN: dict[str, Any] = {"preamble": False}
HEADER = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
    "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
)
ASSISTANT = "<|start_header_id|>assistant<|end_header_id|>\n\n"
SCHEMA = """{
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The forecast for a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {
                    "type": "string"
                }
            },
            "required": [
                "city"
            ]
        }
    }
}

"""

UNREADABLE = {
    "{": "cut",
    '{"city': "cut in a key",
    "[1]": "array",
    '"text"': "string",
    "{'city': None}": "python",
    "NaN": "nan",
    '{"a": NaN}': "nan inside",
    "[" * 100_000: "too deep",
    '{"a": ' + "9" * 5000 + "}": "huge number",
    '{"a": "<|eot_id|>': "a control token",
}


def built_in(llama3: Tokenizer, release: str = "llama-3.1") -> ChatTemplate:
    return template_for(llama3, release, clock=fixed_clock)


def written(template: ChatTemplate, conversation: Conversation) -> str:
    return "".join(piece.text for piece in template.render(conversation))


def test_the_header_opens_the_system_message(llama3: Tokenizer) -> None:
    assert written(built_in(llama3), Conversation(CHAT)) == (
        f"{HEADER}Be brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        f"{ASSISTANT}Hi!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nRain?<|eot_id|>"
        f"{ASSISTANT}"
    )


def test_the_header_stands_alone_without_a_system_message(llama3: Tokenizer) -> None:
    text = written(built_in(llama3), Conversation(CHAT[1:2]))

    assert text.startswith(f"{HEADER}<|eot_id|><|start_header_id|>user<|end_header_id|>")


@pytest.mark.parametrize(
    ("release", "kwargs", "date"),
    [
        ("llama-3.1", {}, "26 Jul 2024"),
        ("llama-3.2", {}, "26 Sep 2024"),
        ("llama-3.3", {}, "26 Jul 2024"),
        ("llama-3.2", {"date_string": "1 Jan 2030"}, "1 Jan 2030"),
    ],
    ids=["3.1 as published", "3.2 today", "3.3 as published", "given"],
)
def test_the_date_is_the_releases_or_the_callers(
    llama3: Tokenizer, release: str, kwargs: dict[str, Any], date: str
) -> None:
    conversation = Conversation(CHAT, template_kwargs=kwargs)

    assert f"Today Date: {date}\n\n" in written(built_in(llama3, release), conversation)


@pytest.mark.parametrize("release", ["llama-3", "llama-3.1"])
def test_the_plain_form_has_no_system_message_of_its_own(llama3: Tokenizer, release: str) -> None:
    conversation = Conversation(CHAT[1:2], template_kwargs=PLAIN)

    assert written(built_in(llama3, release), conversation) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>" + ASSISTANT
    )


def test_defaults_hold_until_the_caller_says_otherwise(llama3: Tokenizer) -> None:
    template = template_for(llama3, "llama-3.1", defaults=PLAIN)

    assert "Today Date" not in written(template, Conversation(CHAT))
    assert "Today Date" in written(template, Conversation(CHAT, template_kwargs={"preamble": True}))


def test_tools_go_before_the_first_user_message(llama3: Tokenizer) -> None:
    greeted = (Message(Role.ASSISTANT, "Welcome!"), Message(Role.USER, "Rain?"))
    text = written(built_in(llama3), Conversation(greeted, tools=(WEATHER,), template_kwargs=PLAIN))

    assert text == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\n"
        f"<|eot_id|>{ASSISTANT}Welcome!<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
        "Given the following functions, please respond with a JSON for a function call with its "
        "proper arguments that best answers the given prompt.\n\n"
        'Respond in the format {"name": function name, "parameters": dictionary of argument name '
        f"and its value}}.Do not use variables.\n\n{SCHEMA}Rain?<|eot_id|>{ASSISTANT}"
    )


def test_tools_go_into_the_system_message_when_told(llama3: Tokenizer) -> None:
    kwargs = {"tools_in_user_message": False}
    text = written(built_in(llama3), Conversation(CHAT, tools=(WEATHER,), template_kwargs=kwargs))

    assert f"Do not use variables.\n\n{SCHEMA}Be brief.<|eot_id|>" in text
    assert "<|end_header_id|>\n\nEnvironment: ipython\nCutting Knowledge" in text


def test_tools_without_a_user_message_are_refused(llama3: Tokenizer) -> None:
    with pytest.raises(InvalidRequest, match="first user message") as refused:
        built_in(llama3).render(Conversation(CHAT[:1], tools=(WEATHER,)))

    assert refused.value.param == "messages"


def test_calls_and_results_have_their_own_turns(llama3: Tokenizer) -> None:
    text = written(built_in(llama3), Conversation(TOOL_CHAT))

    assert text.endswith(
        f'{ASSISTANT}{{"name": "weather", "parameters": {{"city": "Tromsø", "days": 2}}}}<|eot_id|>'
        '<|start_header_id|>ipython<|end_header_id|>\n\n{"rain": "5 mm"}<|eot_id|>' + ASSISTANT
    )


def test_several_calls_follow_the_content_of_one_message(llama3: Tokenizer) -> None:
    calls = (CALL, ToolCall("call_2", "clock", "{}"))
    message = Message(Role.ASSISTANT, "Let me see. ", tool_calls=calls)
    text = written(built_in(llama3), Conversation((*CHAT, message)))

    assert (
        'Let me see. {"name": "weather", "parameters": {"city": "Tromsø", "days": 2}}; '
        '{"name": "clock", "parameters": {}}<|eot_id|>'
    ) in text


def test_builtin_tools_are_called_behind_the_python_tag(llama3: Tokenizer) -> None:
    call = ToolCall("1", "brave_search", '{"query": "gold"}')
    chat = (*CHAT, Message(Role.ASSISTANT, tool_calls=(call,)))
    kwargs = {"builtin_tools": ["brave_search", "wolfram_alpha", "code_interpreter"]}
    text = written(built_in(llama3), Conversation(chat, template_kwargs=kwargs))

    assert "Environment: ipython\nTools: brave_search, wolfram_alpha\n\nCutting" in text
    assert f'{ASSISTANT}<|python_tag|>brave_search.call(query="gold")<|eom_id|>' in text


def test_a_developer_speaks_as_the_system(llama3: Tokenizer) -> None:
    chat = (Message(Role.DEVELOPER, "Be brief."), CHAT[1], Message(Role.DEVELOPER, "Be kind."))
    text = written(built_in(llama3), Conversation(chat))

    assert text.startswith(f"{HEADER}Be brief.<|eot_id|>")
    assert "<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>" in text


def test_a_prefill_is_left_open_and_untrimmed(llama3: Tokenizer) -> None:
    chat = (*CHAT, Message(Role.ASSISTANT, "No, "))
    text = written(built_in(llama3), Conversation(chat, continue_final_message=True))

    assert text.endswith(f"{ASSISTANT}No, ")


def test_the_assistants_turn_is_not_opened_unasked(llama3: Tokenizer) -> None:
    text = written(built_in(llama3), Conversation(CHAT, add_generation_prompt=False))

    assert text.endswith("Rain?<|eot_id|>")


@pytest.mark.parametrize(
    ("conversation", "param"),
    [
        (Conversation(()), "messages"),
        (Conversation(CHAT, continue_final_message=True), "messages[3]"),
        (Conversation(TOOL_CHAT[:5], continue_final_message=True), "messages[4]"),
        (Conversation(CHAT, template_kwargs={"preamble": "no"}), "chat_template_kwargs.preamble"),
        (
            Conversation(CHAT, template_kwargs={"builtin_tools": [1]}),
            "chat_template_kwargs.builtin_tools",
        ),
    ],
    ids=["empty", "user prefill", "call prefill", "option type", "option item type"],
)
def test_what_has_no_form_is_refused_by_name(
    llama3: Tokenizer, conversation: Conversation, param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        built_in(llama3).render(conversation)

    assert refused.value.param == param


@pytest.mark.parametrize("name", ["llama-3.1", "tokenizer"], ids=["built-in", "jinja"])
@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ("", "{}"),
        (" ", "{}"),
        ("null", "{}"),
        ('{"a": "1\n2"}', '{"a": "1\\n2"}'),
        *((text, text) for text in UNREADABLE),
    ],
    ids=["empty", "blank", "null", "raw line break", *UNREADABLE.values()],
)
def test_arguments_are_said_again_however_a_model_left_them(
    llama3: Tokenizer, name: str, arguments: str, written: str
) -> None:
    message = Message(Role.ASSISTANT, tool_calls=(ToolCall("2", "f", arguments),))

    pieces = template_for(llama3, name).render(Conversation((*CHAT, message)))

    assert any(
        piece.text.strip() == f'{{"name": "f", "parameters": {written}}}' for piece in pieces
    )


def test_a_builtin_call_is_said_again_as_it_was_cut(llama3: Tokenizer) -> None:
    message = Message(Role.ASSISTANT, tool_calls=(ToolCall("2", "brave_search", '{"query": "x'),))
    asked = Conversation((*CHAT, message), template_kwargs={"builtin_tools": ["brave_search"]})

    pieces = built_in(llama3).render(asked)

    assert Text('brave_search.call({"query": "x)') in pieces


@pytest.mark.parametrize(
    ("conversation", "param"),
    [
        (Conversation(CHAT, tools=(WEATHER,)), "tools"),
        (Conversation(TOOL_CHAT), "messages[4]"),
        (Conversation((*CHAT, TOOL_CHAT[5])), "messages[4]"),
    ],
    ids=["tools", "calls", "results"],
)
def test_llama_3_refuses_what_came_with_3_1(
    llama3: Tokenizer, conversation: Conversation, param: str
) -> None:
    with pytest.raises(InvalidRequest, match=r"3\.1") as refused:
        Llama3Template(llama3, "llama-3", defaults={}, clock=fixed_clock).render(conversation)

    assert refused.value.param == param


# Meta's reference encodes header and content apart, a Jinja template writes them into one text:
# their ids agree unless the content begins with a line break that the header's would swallow.
contents = st.text(max_size=30).filter(lambda text: not text or not text[0].isspace())
names = st.text("abc_", min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
calls = st.builds(
    ToolCall,
    id=names,
    name=names | st.sampled_from(["brave_search", "code_interpreter"]),
    arguments=st.sampled_from(['{"query": "x \\" y"}', '{"code": "x = 1"}', "{}", '{"a": [1.5]}']),
) | st.builds(ToolCall, id=names, name=names, arguments=st.text(max_size=9))
messages = st.one_of(
    st.builds(Message, st.sampled_from(Role), contents),
    st.builds(
        Message,
        st.just(Role.ASSISTANT),
        contents,
        tool_calls=st.lists(calls, min_size=1, max_size=3).map(tuple),
    ),
)
tools = st.builds(
    Tool, names, st.none() | st.text(max_size=9), st.none() | st.dictionaries(names, json_values)
)
template_kwargs = st.fixed_dictionaries(
    {},
    optional={
        "preamble": st.booleans(),
        "date_string": st.text("0123456789 Jan", max_size=9),
        "tools_in_user_message": st.booleans(),
        "builtin_tools": st.lists(st.sampled_from(["brave_search", "code_interpreter"])),
    },
)
conversations = st.builds(
    Conversation,
    messages=st.lists(messages, min_size=1, max_size=5).map(tuple),
    tools=st.lists(tools, max_size=2).map(tuple),
    add_generation_prompt=st.booleans(),
    template_kwargs=template_kwargs,
)


@pytest.fixture(scope="module")
def own(llama3: Tokenizer) -> ChatTemplate:
    return template_for(llama3, "tokenizer", clock=fixed_clock)


@settings(max_examples=150, deadline=None)
@given(conversation=conversations)
def test_the_folders_jinja_template_gives_the_same_ids(
    llama3: Tokenizer, conversation: Conversation
) -> None:
    own = template_for(llama3, "tokenizer", clock=fixed_clock)

    assert outcome(llama3, own, conversation) == outcome(llama3, built_in(llama3), conversation)


def outcome(
    llama3: Tokenizer, template: ChatTemplate, conversation: Conversation
) -> tuple[int, ...] | str:
    try:
        return PromptRenderer(llama3, template).render(conversation).token_ids
    except InvalidRequest:
        return "refused"
