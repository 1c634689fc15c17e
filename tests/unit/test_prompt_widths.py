"""A bound from below on a text's tokens holds for every text, or is not given."""

from pathlib import Path
from random import Random

import pytest
import tokenizers
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from gateway.output.vocabulary import Vocabulary
from gateway.prompt.tokenizer import Tokenizer as PromptTokenizer
from gateway.prompt.widths import Unknown, Widths, widths_of

ALPHABETS = ["aeinrst ", "0123456789", " \n\t", "<>|=-#/", "日本語é😊", "aé0- \n\x04", "-", " "]


@pytest.fixture(scope="session", params=["llama3_folder", "chatml_folder"])
def tokenizer(request: pytest.FixtureRequest) -> PromptTokenizer:
    return PromptTokenizer.load(request.getfixturevalue(request.param))


def widths(backend: tokenizers.Tokenizer) -> Widths:
    return widths_of(backend, Vocabulary.from_backend(backend).tokens)


def test_no_text_has_fewer_tokens_than_it_has_at_least(tokenizer: PromptTokenizer) -> None:
    random, known = Random(3), widths(tokenizer.backend)

    for alphabet in ALPHABETS * 20:
        text = "".join(random.choices(alphabet, k=random.randint(1, 3000)))
        assert known.least(text) <= len(tokenizer.encode(text))


@pytest.mark.parametrize(
    ("text", "least"),
    [("a" * 41_000, 1000), ("7" * 3000, 1000), ("日" * 32_000, 1000), ("<" * 114_000, 1000)],
    ids=["letters", "digits", "beyond ASCII", "signs"],
)
def test_text_of_one_kind_is_cut_into_the_longest_tokens_of_that_kind(
    llama3: PromptTokenizer, text: str, least: int
) -> None:
    assert widths(llama3.backend).least(text) == least


def test_unicode_forms_leave_ascii_alone(llama3_folder: Path) -> None:
    backend = Tokenizer.from_file(str(llama3_folder / "tokenizer.json"))
    backend.normalizer = normalizers.NFC()

    known = widths(backend)

    assert known.least("7" * 3000) == 1000
    assert known.least("e\u0301" * 3000) == 0


def test_nothing_is_known_of_tokens_that_swallow_text(llama3_folder: Path) -> None:
    lossy = Tokenizer.from_file(str(llama3_folder / "tokenizer.json"))
    lossy.normalizer = normalizers.Strip()
    splitting = Tokenizer.from_file(str(llama3_folder / "tokenizer.json"))
    splitting.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.ByteLevel()]
    )
    swallowing = Tokenizer.from_file(str(llama3_folder / "tokenizer.json"))
    swallowing.add_tokens([AddedToken("   ", lstrip=True)])

    for backend in (lossy, splitting, swallowing):
        assert isinstance(widths(backend), Unknown)
        assert widths(backend).least("a" * 10**6) == 0
