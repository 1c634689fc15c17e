"""Which template a model gets."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from build_engine.tokenizer import ReleaseName
from gateway.prompt.conversation import Conversation
from gateway.prompt.jinja import JinjaTemplate
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer
from tests.unit.conversations import CHAT, WEATHER, fixed_clock


@pytest.mark.parametrize(
    ("release", "known_as"),
    [
        ("llama-3", "llama-3"),
        ("llama-3.2", "llama-3.2"),
        ("llama-3.3", "llama-3.1"),
    ],
)
def test_a_llama_3_folder_is_known_by_what_its_template_writes(
    release_folder: Callable[[ReleaseName], Path], release: ReleaseName, known_as: str
) -> None:
    template = template_for(Tokenizer.load(release_folder(release)), clock=fixed_clock)

    assert template.name == known_as


def test_a_template_that_only_trims_is_still_the_release(llama3: Tokenizer) -> None:
    source = str(llama3.chat_template)
    trimming = source.replace("{{- message.content }}", "{{- message.content | trim }}")

    template = template_for(replace(llama3, chat_templates={"default": trimming}))

    assert trimming != source
    assert template.name == "llama-3.1"


def test_a_fine_tune_with_a_template_of_its_own_keeps_it(llama3: Tokenizer) -> None:
    changed = str(llama3.chat_template).replace("Cutting Knowledge Date", "Knowledge ends")

    template = template_for(replace(llama3, chat_templates={"default": changed}))

    assert isinstance(template, JinjaTemplate)
    assert template.name == "tokenizer"


def test_another_family_gets_its_tokenizers_template(chatml_folder: Path) -> None:
    template = template_for(Tokenizer.load(chatml_folder))

    assert "".join(piece.text for piece in template.render(Conversation(CHAT[:2]))) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_conversations_with_tools_get_the_template_for_them(chatml_folder: Path) -> None:
    sources = {"default": "plain", "tool_use": "{{ tools | length }} tool"}
    template = template_for(replace(Tokenizer.load(chatml_folder), chat_templates=sources))

    with_tools = template.render(Conversation(CHAT, tools=(WEATHER,)))

    assert [piece.text for piece in with_tools] == ["1 tool"]
    assert [piece.text for piece in template.render(Conversation(CHAT))] == ["plain"]
    assert template.name == "tokenizer"


def test_a_name_that_is_none_is_reported_with_those_that_are(chatml_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"'alpaca'.*llama-3\.1.*tokenizer"):
        template_for(Tokenizer.load(chatml_folder), "alpaca")


def test_a_built_in_template_needs_its_control_tokens(chatml_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"<\|.*\|>, which the tokenizer does not have"):
        template_for(Tokenizer.load(chatml_folder), "llama-3.1")


def test_a_tokenizer_without_a_template_needs_a_name(llama3: Tokenizer) -> None:
    bare = replace(llama3, chat_templates={})

    assert template_for(bare, "llama-3.1").name == "llama-3.1"
    with pytest.raises(ValueError, match="no chat template"):
        template_for(bare)
