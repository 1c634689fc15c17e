"""What is read from a tokenizer's folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from gateway.prompt.pieces import Control, Text
from gateway.prompt.tokenizer import Tokenizer, well_formed


@pytest.fixture(scope="module")
def chatml(chatml_folder: Path) -> Tokenizer:
    return Tokenizer.load(chatml_folder)


def changed(folder: Path, target: Path, name: str, content: Any) -> Tokenizer:
    """Load a copy of a folder in which one file is replaced."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    (target / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return Tokenizer.load(target)


def test_llama_3_ends_a_turn_before_a_message_before_a_text(llama3: Tokenizer) -> None:
    assert llama3.end_ids == (128009, 128008, 128001)


def test_end_tokens_come_from_names_tokenizer_and_generation_config(chatml: Tokenizer) -> None:
    assert chatml.end_ids == (2, 0)


@pytest.mark.parametrize(
    ("eos", "end_ids"), [([7, 2], (2, 7)), (7, (2, 7)), (None, (2,))], ids=["list", "one", "none"]
)
def test_generation_config_may_name_one_end_or_several(
    chatml_folder: Path, tmp_path: Path, eos: Any, end_ids: tuple[int, ...]
) -> None:
    tokenizer = changed(chatml_folder, tmp_path, "generation_config.json", {"eos_token_id": eos})

    assert tokenizer.end_ids == end_ids


def test_a_tokenizer_that_adds_no_bos_has_none(llama3: Tokenizer, chatml: Tokenizer) -> None:
    assert llama3.bos_id == 128000
    assert chatml.named_tokens["bos_token"] == "<|im_start|>"
    assert chatml.bos_id is None


def test_named_tokens_may_be_objects(chatml_folder: Path, tmp_path: Path) -> None:
    named = {"eos_token": {"content": "<|end|>", "lstrip": True}, "unk_token": None}

    tokenizer = changed(chatml_folder, tmp_path, "special_tokens_map.json", named)

    assert tokenizer.named_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|end|>"}


def test_special_and_control_tokens_are_told_apart(chatml: Tokenizer) -> None:
    assert "<think>" not in chatml.special_ids
    assert chatml.control_ids.keys() - chatml.special_ids.keys() == {"<think>", "<tool>"}


def test_the_vocabulary_counts_added_tokens(llama3: Tokenizer, chatml: Tokenizer) -> None:
    assert llama3.vocab_size == 128256
    assert chatml.vocab_size == chatml.backend.get_vocab_size(with_added_tokens=True)


def test_special_tokens_count_where_they_are_asked_for(llama3: Tokenizer) -> None:
    ids = llama3.encode_with_special("<|begin_of_text|>Hi<|eot_id|><|python_tag|>!")

    assert ids == [128000, *llama3.encode("Hi"), 128009, 128010, *llama3.encode("!")]
    assert ids == [128000, 13347, 128009, 128010, 0]


def test_control_tokens_swallow_the_whitespace_they_are_told_to(chatml: Tokenizer) -> None:
    number = chatml.control_ids["<|end|>"]

    assert chatml.split("a <|end|>\n b<|im_end|> ") == [
        Text("a"),
        Control(number, "<|end|>"),
        Text("b"),
        Control(2, "<|im_end|>"),
        Text(" "),
    ]


def test_ids_become_text_with_or_without_special_tokens(llama3: Tokenizer) -> None:
    ids = [128000, *llama3.encode("Tromsø 👍"), 128009]

    assert llama3.decode(ids) == "Tromsø 👍"
    assert llama3.decode(ids, skip_special=False) == "<|begin_of_text|>Tromsø 👍<|eot_id|>"


@pytest.mark.parametrize(
    ("text", "carried"),
    [("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "😀"), ("é", "é")],
    ids=["lone surrogate", "surrogate pair", "ordinary"],
)
def test_surrogates_are_encoded_as_utf_8_can_carry_them(
    llama3: Tokenizer, text: str, carried: str
) -> None:
    assert well_formed(text) == carried
    assert llama3.encode(text) == llama3.encode(carried)


def test_truncation_and_padding_in_the_file_are_not_applied(
    chatml_folder: Path, tmp_path: Path
) -> None:
    spec = json.loads((chatml_folder / "tokenizer.json").read_text())
    spec["truncation"] = {
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip

    tokenizer = changed(chatml_folder, tmp_path, "tokenizer.json", spec)

    assert len(tokenizer.encode("a b c d e")) > 2


def test_a_space_before_the_first_text_is_not_put_before_later_ones(tmp_path: Path) -> None:
    words = {"▁a": 0, "a": 1, "<s>": 2, "▁": 3}
    backend = Backend(models.WordLevel(words, "▁"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.add_special_tokens(["<s>"])
    backend.save(str(tmp_path / "tokenizer.json"))

    tokenizer = Tokenizer.load(tmp_path)

    assert tokenizer.encode_with_special("a<s>a") == backend.encode("a<s>a").ids == [0, 2, 1]
    assert tokenizer.encode_with_special("<s>a a") == backend.encode("<s>a a").ids == [2, 1, 0]


@pytest.mark.parametrize(
    ("configured", "templates"),
    [
        ("A", {"default": "A"}),
        (
            [{"name": "default", "template": "A"}, {"name": "tool_use", "template": "B"}],
            {"default": "A", "tool_use": "B"},
        ),
        (None, {}),
    ],
    ids=["one", "several", "none"],
)
def test_chat_templates_are_read_by_name(
    chatml_folder: Path, tmp_path: Path, configured: Any, templates: dict[str, str]
) -> None:
    config = {"chat_template": configured}

    tokenizer = changed(chatml_folder, tmp_path, "tokenizer_config.json", config)

    assert tokenizer.chat_templates == templates
    assert tokenizer.chat_template == templates.get("default")


def test_a_template_file_wins_over_the_configuration(chatml_folder: Path, tmp_path: Path) -> None:
    assert changed(chatml_folder, tmp_path, "chat_template.jinja", "C").chat_template == "C"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "{"),
        ("generation_config.json", "[]"),
    ],
    ids=["no tokenizer", "no json", "no object"],
)
def test_a_file_that_makes_no_sense_is_named(
    chatml_folder: Path, tmp_path: Path, name: str, content: str
) -> None:
    with pytest.raises(ValueError, match=name):
        changed(chatml_folder, tmp_path, name, content)


def test_a_folder_without_a_tokenizer_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)
