"""A GGUF's tokenizer cuts text as the model was trained to have it cut."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from build_engine.gguf import BadGguf, Gguf
from build_engine.gguf_tokenizer import build_tokenizer, write_tokenizer
from tests.gguf_files import END, LLAMA, THINK

TEXTS = (
    "Hello, world! It's 12345 o'clock.",
    "  leading,   inner\n\n\ttrailing  ",
    "naïve café, 你好 😀 ٣٤٥ x² 1,234.56",
    "<|eot_id|> typed, DON'T <|begin_of_text|>",
    "",
)


def gguf(**changes: object) -> Gguf:
    renamed = {key.replace("__", "."): value for key, value in changes.items()}
    return Gguf(Path("model.gguf"), LLAMA | renamed)


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return list(tokenizer.encode(text).tokens)


def test_merges_are_applied() -> None:
    assert pieces(build_tokenizer(gguf()), "hello") == ["hello"]


@pytest.mark.parametrize(
    ("split", "expected"), [("smollm", ["1", "2"]), ("gpt-2", ["12"]), ("llama-bpe", ["12"])]
)
def test_digits_are_split_as_the_pre_tokenizer_has_it(split: str, expected: list[str]) -> None:
    tokenizer = build_tokenizer(gguf(tokenizer__ggml__pre=split))
    tokenizer.post_processor = None

    assert pieces(tokenizer, "12") == expected


def test_control_tokens_are_special_and_user_defined_ones_are_not() -> None:
    tokenizer = build_tokenizer(gguf())

    ids = tokenizer.encode("<|end|>h<think>").ids

    assert ids == [END, tokenizer.token_to_id("h"), THINK]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "h<think>"


@given(st.text())
def test_any_text_survives_the_round_trip(text: str) -> None:
    tokenizer = build_tokenizer(gguf())

    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("said", "first"), [(True, END), (False, None)], ids=["asked for", "not asked for"]
)
def test_the_first_token_is_added_where_the_model_wants_it(said: bool, first: int | None) -> None:
    tokenizer = build_tokenizer(gguf(tokenizer__ggml__add_bos_token=said))

    assert tokenizer.encode("").ids == ([] if first is None else [first])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer__ggml__pre": "tekken"}, "pre-tokenizer 'tekken'"),
        ({"tokenizer__ggml__model": "llama"}, "of kind 'llama'"),
        ({"tokenizer__ggml__pre": None}, r"has no tokenizer\.ggml\.pre"),
        ({"tokenizer__ggml__merges": None}, r"has no tokenizer\.ggml\.merges"),
    ],
    ids=["another pre-tokenizer", "SentencePiece", "none named", "no merges"],
)
def test_a_tokenizer_not_known_is_refused_by_name(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadGguf, match=said):
        build_tokenizer(gguf(**changes))


def test_a_llama_3_gguf_gives_the_tokens_of_metas_vocabulary(llama3_folder: Path) -> None:
    meta = Tokenizer.from_file(str(llama3_folder / "tokenizer.json"))
    ours = build_tokenizer(_llama3_gguf(llama3_folder))

    assert [ours.encode(text).ids for text in TEXTS] == [meta.encode(text).ids for text in TEXTS]


def test_every_way_that_llama_3_ends_an_answer_is_listed(
    llama3_folder: Path, tmp_path: Path
) -> None:
    write_tokenizer(_llama3_gguf(llama3_folder), tmp_path)

    config = json.loads((tmp_path / "generation_config.json").read_text())
    assert config == {"bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009]}


def test_the_config_holds_template_special_tokens_and_context(tmp_path: Path) -> None:
    write_tokenizer(gguf(), tmp_path)

    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["chat_template"] == "{{ messages }}"
    assert (config["bos_token"], config["eos_token"]) == ("<|end|>", "<|end|>")
    assert config["model_max_length"] == 512


def _llama3_gguf(folder: Path) -> Gguf:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in content["added_tokens"]}
    vocabulary = content["model"]["vocab"] | special
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    return gguf(
        tokenizer__ggml__pre="llama-bpe",
        tokenizer__ggml__tokens=tokens,
        tokenizer__ggml__token_type=[3 if token in special else 1 for token in tokens],
        tokenizer__ggml__merges=[" ".join(pair) for pair in content["model"]["merges"]],
        tokenizer__ggml__bos_token_id=special["<|begin_of_text|>"],
        tokenizer__ggml__eos_token_id=special["<|eot_id|>"],
    )
