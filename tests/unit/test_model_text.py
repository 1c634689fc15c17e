"""Preprocessing turns text into ids, postprocessing turns deltas into text."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from prompt_encoder import PromptEncoder
from text_streams import TextStreams
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

BOS, EOS, EOT = "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"
BOS_ID = 256


def byte_tokenizer(*special: str) -> Tokenizer:
    """One token per byte, and the special ones from 256 on; a BOS begins every text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: at for at, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, BOS_ID)]
    )
    return tokenizer


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with the tokenizer of an early Llama 3: its eos ends no turn."""
    return write(tmp_path, byte_tokenizer(BOS, EOS, EOT))


def write(repository: Path, tokenizer: Tokenizer) -> Path:
    folder = repository / "tensorrt_llm" / "tokenizer"
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": BOS, "eos_token": {"content": EOS}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return repository


def query(text: str, **tensors: Any) -> dict[str, NDArray[Any]]:
    named = {"QUERY": words(text), "REQUEST_OUTPUT_LEN": np.array([[8]], np.int32)}
    return named | tensors


def words(*texts: str) -> NDArray[np.object_]:
    return np.array([[text.encode() for text in texts]], np.object_)


@pytest.mark.parametrize("text", ["hi", f"{BOS}hi"], ids=["without", "with"])
def test_a_prompt_begins_with_one_bos(repository: Path, text: str) -> None:
    encoded = PromptEncoder.load(repository, {}).encode(query(text))

    ids = encoded["INPUT_ID"][0].tolist()
    assert (ids[0], ids.count(BOS_ID), len(ids)) == (BOS_ID, 1, 3)
    assert encoded["REQUEST_INPUT_LEN"].tolist() == [[3]]


def test_no_bos_is_added_where_none_is_wanted(repository: Path) -> None:
    encoder = PromptEncoder.load(repository, {"add_special_tokens": "False"})

    assert BOS_ID not in encoder.prompt_ids("hi")
    assert encoder.prompt_ids(f"{BOS}hi").count(BOS_ID) == 1


def test_a_tokenizer_folder_is_looked_for_inside_the_repository(
    repository: Path, tmp_path: Path
) -> None:
    write(tmp_path / "other", byte_tokenizer(BOS, EOS))
    parameters = {"tokenizer_dir": "other/tensorrt_llm/tokenizer"}

    encoded = PromptEncoder.load(repository, parameters).encode(query("hi"))

    assert encoded["OUT_END_ID"].tolist() == [[BOS_ID + 1]]


def test_the_end_of_a_turn_ends_an_answer_unless_the_caller_says_otherwise(
    repository: Path,
) -> None:
    encoder = PromptEncoder.load(repository, {})

    default = encoder.encode(query("hi"))
    chosen = encoder.encode(query("hi", END_ID=np.array([[7]], np.int32)))

    assert default["OUT_END_ID"].tolist() == [[BOS_ID + 2]]
    assert default["OUT_PAD_ID"].tolist() == [[BOS_ID + 2]]
    assert chosen["OUT_END_ID"].tolist() == [[7]]


def test_words_are_laid_out_as_ids_and_end_offsets(repository: Path) -> None:
    encoder = PromptEncoder.load(repository, {})
    tokens = encoder.prompt_ids(f"{BOS}abc")[1:]

    encoded = encoder.encode(query("hi", STOP_WORDS_DICT=words("a", "bc")))

    assert encoded["STOP_WORDS_IDS"].tolist() == [[tokens, [1, 3, -1]]]
    assert encoded["BAD_WORDS_IDS"].shape == (1, 2, 0)


def test_a_biased_word_biases_its_tokens_and_no_bos(repository: Path) -> None:
    encoder = PromptEncoder.load(repository, {})
    token = encoder.prompt_ids(f"{BOS}a")[1]

    bias = encoder.encode(
        query("hi", EMBEDDING_BIAS_WORDS=words("a"), EMBEDDING_BIAS_WEIGHTS=np.array([[2.5]]))
    )["EMBEDDING_BIAS"]

    assert np.argwhere(bias).tolist() == [[0, token]]
    assert bias[0, token] == 2.5
    assert encoder.encode(query("hi"))["EMBEDDING_BIAS"].shape == (1, 0)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"QUERY": words("a", "b")}, "'QUERY' must hold one prompt"),
        ({"QUERY": np.array([[b"\xff"]], np.object_)}, "'QUERY' must be UTF-8"),
        ({"EMBEDDING_BIAS_WORDS": words("a")}, "'EMBEDDING_BIAS_WEIGHTS' must hold 1 value"),
    ],
    ids=["two prompts", "not text", "no weight"],
)
def test_wrong_text_is_refused_by_name(
    repository: Path, tensors: dict[str, Any], message: str
) -> None:
    encoder = PromptEncoder.load(repository, {})

    with pytest.raises(ValueError, match=message):
        encoder.encode(query("hi") | tensors)


def delta(ids: list[int], index: int | None = None) -> dict[str, NDArray[Any]]:
    padded = [*ids, -1]
    tensors = {"TOKENS_BATCH": np.array([[padded]]), "SEQUENCE_LENGTH": np.array([[len(ids)]])}
    return tensors | ({} if index is None else {"SEQUENCE_INDEX": np.array([[index]])})


def decode(streams: TextStreams, request_id: str, tensors: dict[str, NDArray[Any]]) -> str:
    text: bytes = streams.decode(request_id, tensors)[0, 0]
    return text.decode()


TOKENIZER = byte_tokenizer(BOS, EOS, EOT)


@given(
    text=st.text(max_size=20).filter(lambda text: "\N{REPLACEMENT CHARACTER}" not in text),
    data=st.data(),
)
@settings(deadline=None)
def test_deltas_add_up_to_the_text_however_it_is_split(text: str, data: st.DataObject) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False).ids
    places = data.draw(st.sets(st.integers(0, len(ids))))
    bounds = sorted({0, len(ids), *places})
    streams = TextStreams(TOKENIZER, skips_special=True)

    deltas = [
        decode(streams, "a", delta(ids[start:end])) for start, end in itertools.pairwise(bounds)
    ]

    assert "".join(deltas) == text


def test_streams_of_different_requests_and_sequences_do_not_mix() -> None:
    head, tail = TOKENIZER.encode("é", add_special_tokens=False).ids
    streams = TextStreams(TOKENIZER, skips_special=True)
    keys = [("a", 0), ("a", 1), ("b", 0)]

    first = [decode(streams, request, delta([head], index)) for request, index in keys]
    second = [decode(streams, request, delta([tail], index)) for request, index in keys]

    assert (first, second) == ([""] * 3, ["é"] * 3)


def test_without_a_request_id_nothing_is_carried_over() -> None:
    head, tail = TOKENIZER.encode("é", add_special_tokens=False).ids
    streams = TextStreams(TOKENIZER, skips_special=True)

    texts = [decode(streams, "", delta([token])) for token in (head, tail)]

    assert texts == ["\N{REPLACEMENT CHARACTER}"] * 2


@pytest.mark.parametrize(("value", "text"), [("true", "a"), ("false", f"a{EOT}")])
def test_special_tokens_are_shown_as_configured(repository: Path, value: str, text: str) -> None:
    streams = TextStreams.load(repository, {"skip_special_tokens": value})
    ids = TOKENIZER.encode(f"a{EOT}", add_special_tokens=False).ids

    assert decode(streams, "a", delta(ids)) == text
    assert decode(streams, "", delta(ids)) == text
