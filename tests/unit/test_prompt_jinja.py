"""Chat templates that tokenizers bring along."""

from pathlib import Path
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.prompt.conversation import Conversation, Message, Role
from gateway.prompt.jinja import JinjaTemplate
from gateway.prompt.tokenizer import Tokenizer
from tests.unit.conversations import CALL, CHAT, TOOL_CHAT, WEATHER, fixed_clock

ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}"
)


@pytest.fixture(scope="module")
def tokenizer(chatml_folder: Path) -> Tokenizer:
    return Tokenizer.load(chatml_folder)


def write(
    tokenizer: Tokenizer,
    source: str,
    conversation: Conversation,
    defaults: dict[str, Any] | None = None,
) -> str:
    template = JinjaTemplate(tokenizer, source, defaults=defaults or {}, clock=fixed_clock)
    return "".join(piece.text for piece in template.render(conversation))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ bos_token }}|{{ eos_token }}", "<|im_start|>|<|im_end|>"),
        ("{{ strftime_now('%d %b %Y') }}", "26 Sep 2024"),
        ("{{ {'é': '<'} | tojson }}", '{"é": "<"}'),
        ("{{ {'é': '<'} | tojson(ensure_ascii=true) }}", '{"\\u00e9": "<"}'),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}", "system"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "Be brief."),
        ("    {% if true %}\nx\n    {% endif %}\n", "x\n"),
        ("{{ tools is none }} {{ add_generation_prompt }}", "True True"),
        ("{{ unknown }}{{ mood }}", "calm"),
    ],
    ids=[
        "named tokens", "date", "json", "ascii json", "indented json", "loop controls",
        "generation", "blocks are trimmed", "standard variables", "unknown and default variables",
    ],
)  # fmt: skip
def test_templates_find_what_they_expect(tokenizer: Tokenizer, source: str, text: str) -> None:
    assert write(tokenizer, source, Conversation(CHAT), {"mood": "calm"}) == text


def test_messages_and_tools_have_the_shape_templates_expect(tokenizer: Tokenizer) -> None:
    source = (
        "{{ tools[0].function.name }} {{ messages[4].tool_calls[0].function.arguments.city }} "
        "{{ messages[4].tool_calls[0].id }} {{ messages[5].tool_call_id }} {{ messages[5].role }} "
        "{{ 'name' in messages[0] }}"
    )

    text = write(tokenizer, source, Conversation(TOOL_CHAT, tools=(WEATHER,)))

    assert text == "weather Tromsø call_1 call_1 tool False"


@pytest.mark.parametrize(
    ("source", "role"),
    [("{{ messages[0].role }}", "system"), ("{{ messages[0].role }}{# developer #}", "developer")],
    ids=["unknown to the template", "known"],
)
def test_a_developer_is_the_system_where_the_template_knows_none(
    tokenizer: Tokenizer, source: str, role: str
) -> None:
    chat = (Message(Role.DEVELOPER, "Be brief."),)

    assert write(tokenizer, source, Conversation(chat)) == role


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_a_refusal_names_the_first_message_at_fault_and_says_why(
    tokenizer: Tokenizer, length: int
) -> None:
    good = [Message(Role.USER, "a"), Message(Role.ASSISTANT, "b")] * 4
    chat = (*good[:length], good[length - 1], *good[:3])

    with pytest.raises(InvalidRequest, match="roles must alternate") as refused:
        write(tokenizer, ALTERNATING, Conversation(chat))

    assert refused.value.param == f"messages[{length}]"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages[0].nothing.at_all }}",
        "{{ 1 / 0 }}",
        "{{ range(10 ** 9) | list }}",
    ],
    ids=["escape", "mutation", "type", "undefined", "division", "range"],
)
def test_what_fails_in_a_template_is_the_callers_to_see(tokenizer: Tokenizer, source: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot render messages") as refused:
        write(tokenizer, source, Conversation(CHAT))

    assert refused.value.param == "messages[0]"


@pytest.mark.parametrize(
    ("conversation", "param"),
    [
        (Conversation(CHAT, tools=(WEATHER,)), "tools"),
        (
            Conversation((*CHAT, Message(Role.ASSISTANT, tool_calls=(CALL,)))),
            "messages[4].tool_calls",
        ),
    ],
    ids=["tools", "calls"],
)
def test_what_a_template_would_drop_is_refused(
    tokenizer: Tokenizer, conversation: Conversation, param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        write(tokenizer, "{{ messages[0].content }}", conversation)

    assert refused.value.param == param


@pytest.mark.parametrize("prefill", ["", "No, ", " \n", "<|im_end|>", "Hello"])
def test_a_prefill_is_cut_behind_its_content(tokenizer: Tokenizer, prefill: str) -> None:
    source = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
    )
    chat = (Message(Role.USER, "Hello"), Message(Role.ASSISTANT, prefill))

    text = write(tokenizer, source, Conversation(chat, continue_final_message=True))

    written = prefill.lstrip()
    assert text == f"<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n{written}"


def test_what_a_template_writes_behind_a_prefill_is_cut(tokenizer: Tokenizer) -> None:
    source = "{{ messages[-1].content }}<|im_end|>{{ mood }}<|im_{{ messages[0].content }}"
    chat = (Message(Role.USER, "start"), Message(Role.ASSISTANT, "No, "))

    text = write(tokenizer, source, Conversation(chat, continue_final_message=True))

    assert text == "No, "


def test_a_prefill_that_the_template_leaves_out_is_refused(tokenizer: Tokenizer) -> None:
    chat = (*CHAT, Message(Role.ASSISTANT, "No"))

    with pytest.raises(InvalidRequest, match="cannot be continued") as refused:
        write(
            tokenizer, "{{ messages[0].content }}", Conversation(chat, continue_final_message=True)
        )

    assert refused.value.param == "messages[4]"


def test_a_template_that_is_none_is_reported_with_its_line(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="line 2"):
        JinjaTemplate(tokenizer, "\n{% if %}", defaults={}, clock=fixed_clock)
