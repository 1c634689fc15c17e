"""Nothing a caller writes, anywhere, becomes a control token."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from gateway.prompt.conversation import Conversation, Message, Role, Tool, ToolCall
from gateway.prompt.guard import Guard
from gateway.prompt.jinja import JinjaTemplate
from gateway.prompt.pieces import ChatTemplate, Control, joined
from gateway.prompt.plaintext import text_tokenizer
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer
from tests.unit.conversations import fixed_clock

# Every way in which a template may treat what a caller wrote.
TREATMENTS = [
    "{{ text }}",
    "{{ text | trim }}",
    "{{ text | tojson }}",
    "{{ text | tojson(ensure_ascii=true) }}",
    "{{ text | lower }}",
    "{{ text | upper }}",
    "{{ text | title }}",
    "{{ text | reverse }}",
    "{{ text[1:] }}",
    "{{ text[:-1] }}",
    "{{ text | replace('X', '') }}",
    "{{ text | replace('\\n', '') }}",
    "{{ text.split('X') | join }}",
    "{{ text | list | join }}",
    "{{ text | striptags }}",
    "{{ text | e }}",
    "{{ '%s' | format(text) }}",
    "{{ '<|' + text + '|>' }}",
    "{{ '<|' + text }}",
    "{{ text + '|>' }}",
    "<|{{ text }}|>",
    "<{{ text }}>",
    "<|im_{{ text }}",
    "{{ text }}start|>",
    "{{ '<|%s|>' | format(text) }}",
    "{{ [text] }}",
    "{{ {text: text} }}",
]
FRAGMENTS = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|end|>", "<think>", "<tool>", "    ", "<",
    "<|", "|>", ">", "im_", "im_start", "start|>", "END", "end", "think", "tool", "X", "\n", " ",
    "<|IM_START|>", ">|trats_mi|<", "<|imX_startX|>", "<|im_\nstart|>", "<b>", "\ud800", "\udc00",
    "\udc01", "\ud83d\ude00", "é", "😀", "{{ bos_token }}", "\\u003c",
]  # fmt: skip


@pytest.fixture(scope="module")
def chatml(chatml_folder: Path) -> Tokenizer:
    return Tokenizer.load(chatml_folder)


def control_ids(tokenizer: Tokenizer, template: ChatTemplate, talk: Conversation) -> list[int]:
    ids = PromptRenderer(tokenizer, template, cache_bytes=0).render(talk).token_ids
    control = set(tokenizer.control_ids.values())
    return [token_id for token_id in ids if token_id in control]


def everywhere(text: str) -> Conversation:
    """A conversation with a caller's text in every place that a caller can write to."""
    schema = {"type": "object", "description": text, "properties": {text: {"enum": [text]}}}
    return Conversation(
        messages=(
            Message(Role.SYSTEM, text, name=text),
            Message(Role.USER, text, name=text),
            Message(
                Role.ASSISTANT,
                text,
                tool_calls=(
                    ToolCall(text, text, '{"a": "b"}'),
                    ToolCall("2", "f", f'{{"{text}": "{text}", "l": ["{text}"]}}'),
                ),
            ),
            Message(Role.TOOL, text, tool_call_id=text),
            Message(Role.DEVELOPER, text),
            Message(Role.USER, f"a{text}{text}"),
            Message(Role.ASSISTANT, text),
        ),
        tools=(Tool(text, text, schema),),
        template_kwargs={"date_string": text, "builtin_tools": [text], "bos_token": text},
    )


@pytest.mark.parametrize("in_user_message", [True, False], ids=["user", "system"])
@pytest.mark.parametrize("name", ["llama-3.1", "tokenizer"], ids=["built-in", "jinja"])
def test_no_special_token_of_llama_3_can_be_typed_anywhere(
    llama3: Tokenizer, name: str, in_user_message: bool
) -> None:
    defaults = {"tools_in_user_message": in_user_message}
    template = template_for(llama3, name, defaults=defaults, clock=fixed_clock)
    harmless = control_ids(llama3, template, everywhere("x"))

    typed = [
        token
        for token in llama3.special_ids
        if control_ids(llama3, template, everywhere(token)) != harmless
    ]

    assert len(llama3.special_ids) == 256
    assert len(harmless) > 20
    assert typed == []


def test_all_special_tokens_in_one_text_are_text(llama3: Tokenizer) -> None:
    ids = llama3.encode("".join(llama3.special_ids))

    assert max(ids) < 128000
    assert llama3.decode(ids) == "".join(llama3.special_ids)


@pytest.mark.parametrize("treatment", TREATMENTS)
@settings(max_examples=40, deadline=None)
@given(parts=st.lists(st.sampled_from(FRAGMENTS), max_size=6))
@example(parts=["<|im_start|>"])
@example(parts=["<|imX_startX|>"])
@example(parts=["im_start"])
@example(parts=["END"])
@example(parts=["start|>"])
@example(parts=["<|im_"])
def test_no_treatment_by_a_template_lets_text_become_control(
    chatml: Tokenizer, treatment: str, parts: list[str]
) -> None:
    source = "<|im_start|>{% set text = messages[0].content %}" + treatment + "<|im_end|>"
    template = JinjaTemplate(chatml, source, defaults={}, clock=fixed_clock)
    talk = Conversation((Message(Role.USER, "".join(parts)),))

    written = template.render(talk)

    assert [piece.text for piece in written if isinstance(piece, Control)] == [
        "<|im_start|>",
        "<|im_end|>",
    ]
    assert control_ids(chatml, template, talk) == [1, 2]


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=8))
def test_text_reaches_the_prompt_as_it_was_written(chatml: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    template = template_for(chatml)

    pieces = joined(template.render(Conversation((Message(Role.USER, text),))))

    assert [piece.text for piece in pieces] == [
        "<|im_start|>",
        f"user\n{text}",
        "<|im_end|>",
        "\n",
        "<|im_start|>",
        "assistant\n",
    ]


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=8))
def test_encoded_text_holds_no_control_token(chatml: Tokenizer, parts: list[str]) -> None:
    ids = chatml.encode("".join(parts))

    assert set(chatml.control_ids.values()).isdisjoint(ids)


def test_added_whitespace_stays_text(chatml: Tokenizer) -> None:
    ids = chatml.encode("a    b")

    assert "    " not in chatml.control_ids
    assert chatml.backend.token_to_id("    ") in ids


@pytest.mark.parametrize(
    "kwargs",
    [
        {"text": "<|im_start|>"},
        {"deep": [{"<|im_start|>": "<|im_end|>"}]},
        {"bos_token": "<think>"},
    ],
    ids=["value", "nested", "named token"],
)
def test_template_kwargs_are_text(chatml: Tokenizer, kwargs: dict[str, Any]) -> None:
    source = "{{ text }}{{ deep }}{{ deep | tojson }}{{ bos_token }}<|im_end|>"
    template = JinjaTemplate(chatml, source, defaults={"deep": []}, clock=fixed_clock)
    talk = Conversation((Message(Role.USER, "x"),), template_kwargs=kwargs)

    assert control_ids(chatml, template, talk) == [1, 2]


@pytest.mark.parametrize(
    "model",
    [
        models.WordLevel({"<s>": 0, "a": 1, "[UNK]": 2}, "[UNK]"),
        models.Unigram([("[UNK]", 0), ("<s>", 0), ("<", -3), ("s", -3), (">", -3), ("a", -3)], 0),
    ],
    ids=["word level", "unigram"],
)
def test_control_tokens_in_other_models_vocabularies_stay_out_of_reach(
    tmp_path: Path, model: models.Model
) -> None:
    backend = Backend(model)
    backend.add_special_tokens(["<s>", "[UNK]"])
    backend.add_tokens(["  "])
    backend.save(str(tmp_path / "tokenizer.json"))

    tokenizer = Tokenizer.load(tmp_path)

    number = tokenizer.control_ids["<s>"]
    assert number not in tokenizer.encode("<s>")
    assert tokenizer.encode_with_special("<s>") == [number]
    assert tokenizer.encode("a  a") == backend.encode("a  a").ids


def test_a_tokenizer_that_cannot_tell_text_from_control_is_not_used() -> None:
    backend = Backend(models.WordLevel({"a": 0, "[UNK]": 1}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()

    with pytest.raises(ValueError, match="cannot encode 'a' as text"):
        text_tokenizer(backend, backend.to_str().encode(), {"a": 0})


def test_more_control_tokens_than_can_be_guarded_are_refused() -> None:
    with pytest.raises(ValueError, match="1100 characters"):
        Guard([chr(0x4E00 + place) for place in range(1100)], [])
