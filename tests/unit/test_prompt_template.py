"""Which template a model gets."""

import json
import shutil
from pathlib import Path

import pytest

from build_engine.tokenizer import ReleaseName, convert
from gateway.prompt.conversation import Conversation
from gateway.prompt.jinja import JinjaTemplate
from gateway.prompt.llama import Llama3Template
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer
from tests.unit.conversations import CHAT, WEATHER, fixed_clock


def with_template(folder: Path, target: Path, source: str) -> Tokenizer:
    shutil.copytree(folder, target, dirs_exist_ok=True)
    (target / "chat_template.jinja").write_text(source)
    return Tokenizer.load(target)


@pytest.mark.parametrize(
    ("release", "known_as"),
    [
        ("llama-3", "llama-3"),
        ("llama-3.2", "llama-3.2"),
        ("llama-3.3", "llama-3.1"),
    ],
)
def test_a_llama_3_folder_is_known_by_what_its_template_writes(
    meta_tokenizer: Path, tmp_path: Path, release: ReleaseName, known_as: str
) -> None:
    convert(meta_tokenizer, tmp_path, release)

    template = template_for(Tokenizer.load(tmp_path), clock=fixed_clock)

    assert isinstance(template, Llama3Template)
    assert template.name == known_as


def test_a_template_that_only_trims_is_still_the_release(
    llama3_folder: Path, tmp_path: Path
) -> None:
    source = (llama3_folder / "chat_template.jinja").read_text()
    trimming = source.replace("{{- message.content }}", "{{- message.content | trim }}")

    assert trimming != source
    assert template_for(with_template(llama3_folder, tmp_path, trimming)).name == "llama-3.1"


def test_a_fine_tune_with_a_template_of_its_own_keeps_it(
    llama3_folder: Path, tmp_path: Path
) -> None:
    source = (llama3_folder / "chat_template.jinja").read_text()
    changed = source.replace("Cutting Knowledge Date", "Knowledge ends")

    template = template_for(with_template(llama3_folder, tmp_path, changed))

    assert isinstance(template, JinjaTemplate)
    assert template.name == "tokenizer"


def test_another_family_gets_its_tokenizers_template(chatml_folder: Path) -> None:
    template = template_for(Tokenizer.load(chatml_folder))

    assert "".join(piece.text for piece in template.render(Conversation(CHAT[:2]))) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_conversations_with_tools_get_the_template_for_them(
    chatml_folder: Path, tmp_path: Path
) -> None:
    sources = {"default": "plain", "tool_use": "{{ tools | length }} tool"}
    shutil.copytree(chatml_folder, tmp_path, dirs_exist_ok=True)
    entries = [{"name": name, "template": source} for name, source in sources.items()]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": entries}))
    template = template_for(Tokenizer.load(tmp_path))

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


def test_a_tokenizer_without_a_template_needs_a_name(llama3_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(llama3_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "chat_template.jinja").unlink()
    tokenizer = Tokenizer.load(tmp_path)

    assert template_for(tokenizer, "llama-3.1").name == "llama-3.1"
    with pytest.raises(ValueError, match="no chat template"):
        template_for(tokenizer)
