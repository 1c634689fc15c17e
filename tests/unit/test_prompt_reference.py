"""Llama 3 prompts against Meta's own reference, token by token."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from llama_models.datatypes import BuiltinTool, RawMessage, StopReason
from llama_models.datatypes import ToolCall as ReferenceCall
from llama_models.llama3.chat_format import ChatFormat
from llama_models.llama3.tokenizer import Tokenizer as ReferenceTokenizer

from gateway.prompt.conversation import Conversation, Message, Role, ToolCall
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer

NUM_DIALOGS = 1000
# Meta's plain form: no knowledge and date header.
PLAIN = {"preamble": False}
WORDS = [
    "Hello", " world", "it's", "DON'T", "1234567", "3.14", "\n", "\n\n", "\n \n", "\t", "  ",
    "   x", " ", "\r\n", "\u00a0", "\u2028", "\u3000", "naïve", "e\u0301", "Привет", "你好世界",
    "こんにちは", "안녕하세요", "مرحبا", "שלום", "ไทย", "हिन्दी", "👍🏽", "👨‍👩‍👧‍👦", "🇳🇴", "\ufeff",
    "\u200b", "\x00", "\x1b[0m", "\ufffd", "\U0001d4b3", "{\"a\": [1]}", "```py\n```", "<b>",
    "|>", "<|", "!!!", "…", "def f(x):\n    return x\n", "aaaaaaaaaaaa", "system\n\n",
    "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|python_tag|>", "<|eom_id|>", "<|reserved_special_token_77|>", "<|end_of_text|>", "<|image|>",
]  # fmt: skip
REFERENCE_ROLES = {
    Role.SYSTEM: "system",
    Role.DEVELOPER: "system",
    Role.USER: "user",
    Role.ASSISTANT: "assistant",
    Role.TOOL: "tool",
}


@pytest.fixture(scope="module")
def reference(meta_tokenizer: Path) -> ReferenceTokenizer:
    return ReferenceTokenizer(meta_tokenizer)


def random_text(chance: random.Random) -> str:
    return "".join(chance.choices(WORDS, k=chance.choice((0, 1, 2, 5, 12))))


def random_dialog(chance: random.Random) -> tuple[Message, ...]:
    roles = chance.choices(list(Role), k=chance.randint(1, 8))
    return tuple(Message(role, random_text(chance)) for role in roles)


def reference_message(message: Message) -> RawMessage:
    return RawMessage(role=REFERENCE_ROLES[message.role], content=message.content)


def test_token_ids_equal_metas_reference_for_generated_dialogs(
    llama3: Tokenizer, reference: ReferenceTokenizer, figure: Callable[[str], None]
) -> None:
    chance = random.Random(3)
    renderer = PromptRenderer(llama3, template_for(llama3, "llama-3.1"))
    dialogs = [random_dialog(chance) for _ in range(NUM_DIALOGS)]
    expected = ChatFormat(reference)

    different = [
        dialog
        for dialog in dialogs
        if renderer.render(Conversation(dialog, template_kwargs=PLAIN)).token_ids
        != tuple(expected.encode_dialog_prompt([reference_message(m) for m in dialog]).tokens)
    ]

    figure(f"{len(different)} of {NUM_DIALOGS} dialogs differ from Meta's ChatFormat")
    assert different == []


@pytest.mark.parametrize("release", ["llama-3", "llama-3.2", "llama-3.3"])
def test_every_release_equals_the_reference_in_plain_chat(
    llama3: Tokenizer, reference: ReferenceTokenizer, release: str
) -> None:
    chat = tuple(Message(role, f" {role.value}\n") for role in list(Role)[:4])
    renderer = PromptRenderer(llama3, template_for(llama3, release))
    raw = [reference_message(message) for message in chat]

    ids = renderer.render(Conversation(chat, template_kwargs=PLAIN)).token_ids

    assert ids == tuple(ChatFormat(reference).encode_dialog_prompt(raw).tokens)


def test_code_for_the_interpreter_equals_the_reference(
    llama3: Tokenizer, reference: ReferenceTokenizer
) -> None:
    code = "print(1)\n"
    chat = (
        Message(Role.SYSTEM, ""),
        Message(Role.USER, "Run it."),
        Message(
            Role.ASSISTANT,
            tool_calls=(ToolCall("1", "code_interpreter", json.dumps({"code": code})),),
        ),
        Message(Role.TOOL, "1"),
    )
    call = ReferenceCall(
        call_id="1", tool_name=BuiltinTool.code_interpreter, arguments={"code": code}
    )
    raw = [
        RawMessage(role="system", content="Environment: ipython\n"),
        RawMessage(role="user", content="Run it."),
        RawMessage(
            role="assistant",
            content="",
            tool_calls=[call],
            stop_reason=StopReason.end_of_message,
        ),
        RawMessage(role="tool", content="1"),
    ]
    renderer = PromptRenderer(llama3, template_for(llama3, "llama-3.1"))
    kwargs = {**PLAIN, "builtin_tools": ["code_interpreter"]}

    ids = renderer.render(Conversation(chat, template_kwargs=kwargs)).token_ids

    assert ids == tuple(ChatFormat(reference).encode_dialog_prompt(raw).tokens)


def test_text_has_the_ids_of_metas_tokenizer(
    llama3: Tokenizer, reference: ReferenceTokenizer, figure: Callable[[str], None]
) -> None:
    chance = random.Random(5)
    texts = [*WORDS, *("".join(chance.choices(WORDS, k=20)) for _ in range(500))]
    texts += ["".join(map(chr, chance.choices(range(0x20, 0xD800), k=50))) for _ in range(200)]
    texts += ["".join(chance.choices("ab \n", k=60)) for _ in range(200)]

    different = [
        text
        for text in texts
        if llama3.encode(text) != reference.encode(text, bos=False, eos=False)
    ]

    figure(f"{len(different)} of {len(texts)} texts differ from Meta's tokenizer")
    assert different == []


def test_special_tokens_have_the_ids_of_metas_tokenizer(
    llama3: Tokenizer, reference: ReferenceTokenizer
) -> None:
    shared = reference.special_tokens.keys() & llama3.special_ids.keys()
    named = {token for token in shared if "reserved" not in token}

    assert {token: llama3.special_ids[token] for token in named} == {
        token: reference.special_tokens[token] for token in named
    }
    assert len(llama3.special_ids) == 256
    assert llama3.vocab_size == reference.n_words
