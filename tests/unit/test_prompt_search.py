"""Templates that search what callers say find what transformers lets them find."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from gateway.prompt.conversation import Conversation, Message, Role
from gateway.prompt.jinja import JinjaTemplate
from gateway.prompt.pieces import Control
from gateway.prompt.tokenizer import Tokenizer
from tests.unit.conversations import fixed_clock

# How Qwen3 drops the reasoning of earlier turns and keeps that of the last.
QWEN = (
    "{%- set ns = namespace(last=messages|length - 1, searching=true) %}"
    "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
    "{%- if ns.searching and message.role == 'user' and not "
    "(message.content.startswith('<tool_response>') and "
    "message.content.endswith('</tool_response>')) %}"
    "{%- set ns.searching = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}{%- set content = message.content %}"
    "{%- if message.role == 'assistant' %}{%- set reasoning = '' %}"
    "{%- if '</think>' in content %}"
    "{%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1]"
    ".lstrip('\n') %}{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{- '<|im_start|>assistant\n' }}"
    "{%- if loop.index0 > ns.last %}{{- '<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' }}"
    "{%- endif %}{{- content.lstrip('\n') + '<|im_end|>\n' }}{%- else %}"
    "{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}{%- endif %}"
    "{%- endfor %}"
)
# How DeepSeek-R1 drops all of it.
DEEPSEEK = (
    "{% for message in messages %}{% set content = message['content'] %}"
    "{% if message['role'] == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + content + '<|im_end|>' }}{% endfor %}"
)
OTHER = (
    "{% set end = '</think>' %}{% for m in messages %}{% if end not in m.content %}-{% endif %}"
    "{{ m.content.replace('<think>', '[').replace(end, ']') | replace('<b>', '*') }}"
    "{% if m.content == '<none>' %}none{% endif %}{% if m.content != '<none>' %}some{% endif %}"
    "{{ m.content.find('<b>') }}{{ m.content.partition(end)[2] }}{% endfor %}"
)
TEMPLATES = {"qwen": QWEN, "deepseek": DEEPSEEK, "other": OTHER}
REASONED = "<think>\nlong reasoning\n</think>\n\nHello!"


@pytest.fixture(scope="module")
def tokenizer(chatml_folder: Path) -> Tokenizer:
    return Tokenizer.load(chatml_folder)


def chat(*contents: str) -> Conversation:
    roles = (Role.USER, Role.ASSISTANT)
    return Conversation(tuple(Message(roles[i % 2], text) for i, text in enumerate(contents)))


def pieces(tokenizer: Tokenizer, source: str, conversation: Conversation) -> list[tuple[bool, str]]:
    template = JinjaTemplate(tokenizer, source, defaults={}, clock=fixed_clock)
    return [(isinstance(p, Control), p.text) for p in template.render(conversation)]


def reference(folder: Path, source: str, conversation: Conversation) -> str:
    messages = [{"role": m.role.value, "content": m.content} for m in conversation.messages]
    text = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        messages, chat_template=source, tokenize=False
    )
    assert isinstance(text, str)
    return text


CHATS = {
    "earlier turn": chat("Hi", REASONED, "And?"),
    "last turn": chat("Hi", REASONED),
    "both": chat("Hi", REASONED, "And?", REASONED),
    "without": chat("Hi", "Hello!", "And?"),
    "several": chat("Hi", "<think>a</think>b</think>c", "<none>", "<b>x</b><think>"),
    "tool response": chat("Hi", REASONED, "<tool_response>\nx\n</tool_response>", REASONED),
}


@pytest.mark.parametrize("conversation", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_finds_what_it_searches(
    tokenizer: Tokenizer, chatml_folder: Path, source: str, conversation: Conversation
) -> None:
    text = "".join(text for _, text in pieces(tokenizer, source, conversation))

    assert text == reference(chatml_folder, source, conversation)


@pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES)
@settings(deadline=None, max_examples=50)
@given(
    contents=st.lists(
        st.lists(
            st.sampled_from(["<think>", "</think>", "<|im_end|>", "<|im_start|>", "\n", "a", "<"])
        ).map("".join),
        min_size=1,
        max_size=4,
    )
)
def test_callers_inject_no_control_token_into_a_template_that_searches(
    tokenizer: Tokenizer, source: str, contents: list[str]
) -> None:
    def controls(words: list[str]) -> int:
        return sum(is_control for is_control, _ in pieces(tokenizer, source, chat(*words)))

    assert controls(contents) == controls(["plain"] * len(contents))
