"""Meta's tokenizer.model as a Hugging Face folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from typer.testing import CliRunner

from build_engine.cli import app
from build_engine.errors import BuildError
from build_engine.tokenizer import ReleaseName, convert


@pytest.mark.parametrize(
    ("release", "named"),
    [
        (
            "llama-3",
            {
                128000: "<|begin_of_text|>",
                128001: "<|end_of_text|>",
                128002: "<|reserved_special_token_0|>",
                128005: "<|reserved_special_token_3|>",
                128006: "<|start_header_id|>",
                128007: "<|end_header_id|>",
                128008: "<|reserved_special_token_4|>",
                128009: "<|eot_id|>",
                128010: "<|reserved_special_token_5|>",
                128255: "<|reserved_special_token_250|>",
            },
        ),
        (
            "llama-3.1",
            {
                128003: "<|reserved_special_token_1|>",
                128004: "<|finetune_right_pad_id|>",
                128005: "<|reserved_special_token_2|>",
                128008: "<|eom_id|>",
                128009: "<|eot_id|>",
                128010: "<|python_tag|>",
                128011: "<|reserved_special_token_3|>",
                128255: "<|reserved_special_token_247|>",
            },
        ),
    ],
)
def test_special_tokens_are_those_of_the_release(
    release_folder: Callable[[ReleaseName], Path], release: ReleaseName, named: dict[int, str]
) -> None:
    tokenizer = Tokenizer.from_file(str(release_folder(release) / "tokenizer.json"))

    assert {number: tokenizer.id_to_token(number) for number in named} == named
    assert tokenizer.get_vocab_size() == 128256


@pytest.mark.parametrize(
    ("release", "ends"),
    [("llama-3", [128001, 128009]), ("llama-3.3", [128001, 128008, 128009])],
)
def test_the_folder_says_what_ends_an_answer(
    release_folder: Callable[[ReleaseName], Path], release: ReleaseName, ends: list[int]
) -> None:
    config = json.loads((release_folder(release) / "generation_config.json").read_text())

    assert config["eos_token_id"] == ends
    assert config["bos_token_id"] == 128000


def test_transformers_reads_the_folder(llama3_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama3_folder)

    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )

    assert tokenizer("Hello 👍!").input_ids == [128000, 9906, 62904, 235, 0]
    assert tokenizer.eos_token == "<|eot_id|>"
    assert prompt.endswith("Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")


def test_the_command_writes_a_folder(meta_tokenizer: Path, tmp_path: Path) -> None:
    target = tmp_path / "folder"

    result = CliRunner().invoke(
        app,
        [
            "tokenizer",
            "--meta",
            str(meta_tokenizer),
            "--output",
            str(target),
            "--release",
            "llama-3.2",
        ],
    )

    assert result.exit_code == 0, result.output
    assert "128,256 tokens, chat template of llama-3.2" in result.output.replace("\n", "")
    assert "strftime_now" in (target / "chat_template.jinja").read_text()


@pytest.mark.parametrize(
    "content",
    [b"", b"one two three\n", b"!!! 0\n", b"YQ== 0\n"],
    ids=["empty", "no pairs", "no base64", "bytes missing"],
)
def test_what_is_no_vocabulary_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)

    with pytest.raises(BuildError, match=r"tokenizer\.model"):
        convert(tmp_path / "tokenizer.model", tmp_path, "llama-3.1")


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.model"
    wrong.write_bytes(b"no vocabulary here")

    result = CliRunner().invoke(app, ["tokenizer", "--meta", str(wrong), "--output", str(tmp_path)])

    assert result.exit_code == 1
    assert "error:" in result.output
