"""Text from token ids: exact to the byte, whatever the vocabulary and the split."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models

from gateway.output.detokenizer import detokenizer_for
from gateway.output.vocabulary import Vocabulary
from tests.seeds import seeds
from tests.steps import growth
from tests.unit.splitting import pieces
from tests.unit.tokenizer_backends import byte_level, ids_of, llama2_like, metaspace_like

BACKENDS = {
    "byte-level": byte_level(),
    "llama2-like": llama2_like(),
    "two-leading-spaces": llama2_like(leading_spaces=2),
    "gemma-like": llama2_like(leading_spaces=0),
    "metaspace": metaspace_like(),
}
VOCABULARIES = {name: Vocabulary.from_backend(backend) for name, backend in BACKENDS.items()}


def decoded(vocabulary: Vocabulary, ids: list[int], seed: int, skip_special: bool) -> str:
    detokenizer = detokenizer_for(vocabulary, skip_special)
    text = "".join(detokenizer.push(piece) for piece in pieces(ids, seed))
    return text + detokenizer.flush()


@pytest.fixture(scope="module")
def llama3(llama3_folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(llama3_folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def llama3_vocabulary(llama3: Tokenizer) -> Vocabulary:
    return Vocabulary.from_backend(llama3)


@seeds(10_000)
def test_any_ids_in_any_split_read_as_one_decode(seed: int) -> None:
    chance = random.Random(seed)
    name, skip_special = chance.choice(sorted(BACKENDS)), chance.random() < 0.5
    ids = [chance.randrange(300) for _ in range(chance.randrange(12))]

    expected = BACKENDS[name].decode(ids, skip_special_tokens=skip_special)

    assert decoded(VOCABULARIES[name], ids, seed, skip_special) == expected


@seeds(10_000)
def test_llama3_ids_in_any_split_read_as_one_decode(
    llama3: Tokenizer, llama3_vocabulary: Vocabulary, seed: int
) -> None:
    ids = [draw(seed + i) for i in range(seed % 17)]
    skip_special = random.Random(seed).random() < 0.5

    expected = llama3.decode(ids, skip_special_tokens=skip_special)

    assert decoded(llama3_vocabulary, ids, seed, skip_special) == expected


def draw(seed: int) -> int:
    """An id of Llama 3's: a lone byte, a control token, or any."""
    chance = random.Random(seed)
    return chance.choice((chance.randrange(256), 128_000 + chance.randrange(256), seed % 128_256))


@pytest.mark.parametrize(
    "text", ["naïve café", "日本語 😀🎉 👩‍👩‍👧", "  two\n\n\tlines  ", "\u0000\ufffd"]
)
def test_llama3_text_survives_one_token_at_a_time(
    llama3: Tokenizer, llama3_vocabulary: Vocabulary, text: str
) -> None:
    detokenizer = detokenizer_for(llama3_vocabulary)

    ids = llama3.encode(text, add_special_tokens=False).ids

    assert "".join(detokenizer.push([i]) for i in ids) + detokenizer.flush() == text


@pytest.mark.parametrize("name", ["llama2-like", "two-leading-spaces", "metaspace"])
@pytest.mark.parametrize("tokens", [["▁"] * 4, ["<0x20>", "▁", "▁a"], ["▁▁", "▁a"], ["</s>", "▁a"]])
def test_the_leading_spaces_a_decoder_drops_are_counted_over_tokens(
    name: str, tokens: list[str]
) -> None:
    ids = ids_of(BACKENDS[name], *tokens)

    assert decoded(VOCABULARIES[name], ids, 0, True) == BACKENDS[name].decode(ids)
    assert decoded(VOCABULARIES[name], ids, 1, True) == BACKENDS[name].decode(ids)


def test_incomplete_utf8_is_held_back_until_it_is_a_character() -> None:
    detokenizer = detokenizer_for(VOCABULARIES["byte-level"])
    ids = ids_of(BACKENDS["byte-level"], "ðŁĺ", "Ģ")

    assert [detokenizer.push([i]) for i in ids] == ["", "😀"]


def test_incomplete_utf8_is_flushed_as_one_replacement_character() -> None:
    detokenizer = detokenizer_for(VOCABULARIES["byte-level"])
    detokenizer.push(ids_of(BACKENDS["byte-level"], "ðŁĺ"))

    assert (detokenizer.flush(), detokenizer.flush()) == ("\ufffd", "")


@pytest.mark.parametrize("name", BACKENDS)
def test_ids_outside_the_vocabulary_add_nothing(name: str) -> None:
    vocabulary, [token] = VOCABULARIES[name], ids_of(BACKENDS[name], "b")
    detokenizer = detokenizer_for(vocabulary)

    texts = [detokenizer.push([i]) for i in (-1, token, 10**9, -(10**9))]

    assert texts == ["", "b", "", ""]
    assert vocabulary.token(-1) == vocabulary.token(10**9) == b""


def test_a_kept_special_token_reads_as_text_while_others_are_skipped() -> None:
    vocabulary = VOCABULARIES["byte-level"]
    detokenizer = detokenizer_for(vocabulary, skip_special=True, kept=("<|python_tag|>",))

    ids = ids_of(BACKENDS["byte-level"], "<s>", "<|python_tag|>")

    assert detokenizer.push(ids) == "<|python_tag|>"


@pytest.mark.parametrize(
    "decoder",
    [
        pytest.param(decoders.WordPiece(), id="wordpiece"),
        pytest.param(decoders.Sequence([decoders.Strip(" ", 1, 0)]), id="strip-each-token"),
        pytest.param(
            decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 0, 1)]), id="strip-end"
        ),
        pytest.param(None, id="none"),
    ],
)
def test_a_decoder_that_cannot_be_streamed_exactly_is_refused_by_name(
    decoder: decoders.Decoder | None,
) -> None:
    backend = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    if decoder is not None:
        backend.decoder = decoder

    with pytest.raises(
        ValueError, match=r"tokenizer decoder not supported: (WordPiece|.*Strip|none)"
    ):
        Vocabulary.from_backend(backend)


def test_cost_is_linear_in_the_length_of_the_answer(llama3_vocabulary: Vocabulary) -> None:
    ids = [draw(i) for i in range(2_000)]

    def reading(times: int) -> Callable[[], object]:
        detokenizer = detokenizer_for(llama3_vocabulary)
        return lambda: [detokenizer.push((id,)) for id in ids * times]

    assert growth(reading, 1, 10) < 10.5
