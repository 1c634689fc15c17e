"""Text in and text out through preprocessing, tensorrt_llm and postprocessing, in a real Triton."""

import pytest
from tokenizers import Tokenizer

from build_engine.repository import Repository
from gateway.embedded.tritonserver import TritonServer
from tests.integration.inference import Client, EngineError

ASTRONAUT = "Grüße, \N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}!"


@pytest.fixture(scope="module")
def simulated(simulated_server: TritonServer) -> Client:
    return Client(simulated_server)


@pytest.fixture(scope="module")
def real(openvino_server: TritonServer) -> Client:
    return Client(openvino_server)


def test_an_answer_in_one_piece_is_exact_and_ends_by_itself(simulated: Client) -> None:
    assert simulated.texts("Draw an astronaut.", 64) == [ASTRONAUT]


def test_deltas_with_a_request_id_never_split_a_character(simulated: Client) -> None:
    deltas = simulated.texts("Draw an astronaut.", 64, "with-id", stream=True)

    assert "".join(deltas) == ASTRONAUT
    assert len([delta for delta in deltas if delta]) > 5
    assert not any("\N{REPLACEMENT CHARACTER}" in delta for delta in deltas)


def test_deltas_without_a_request_id_are_decoded_one_by_one(simulated: Client) -> None:
    deltas = simulated.texts("Draw an astronaut.", 64, stream=True)

    assert "".join(deltas).startswith("Grüße, ")
    assert any("\N{REPLACEMENT CHARACTER}" in delta for delta in deltas)


def test_a_real_answer_streams_the_text_that_it_has_as_a_whole(real: Client) -> None:
    prompt = "<|im_start|>user\nWrite three emojis.<|im_end|>\n<|im_start|>assistant\n"

    (whole,) = real.texts(prompt, 48, "whole")
    streamed = real.texts(prompt, 48, "streamed", stream=True)

    assert "".join(streamed) == whole
    assert len(streamed) > 10


def test_the_prompt_has_the_ids_that_the_tokenizer_gives_it(
    real: Client, openvino_repository: Repository
) -> None:
    tokenizer = Tokenizer.from_file(str(openvino_repository.tokenizer_dir / "tokenizer.json"))
    prompt = "<|im_start|>user\nTell me about Rome.<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids

    (text,) = real.texts(prompt, 24)

    assert text == tokenizer.decode(real.sequences(ids, 24, end_id=2)[0])


def test_a_stop_word_ends_the_answer_and_is_part_of_it(simulated: Client) -> None:
    (text,) = simulated.texts("What is the capital of France?", 64, stop_words=[" France", " of"])

    assert text == "The capital of"


def test_words_that_the_engine_cannot_ban_are_an_error_that_names_the_tensor(real: Client) -> None:
    with pytest.raises(EngineError, match="unsupported tensor 'bad_words_list'"):
        real.texts("Hello", 4, bad_words=[" Rome"])


def test_biases_need_a_weight_per_word(simulated: Client) -> None:
    with pytest.raises(EngineError, match="'EMBEDDING_BIAS_WEIGHTS' must hold 2 values"):
        simulated.texts("Hello", 4, embedding_bias_words=["a", "b"], embedding_bias_weights=[1.0])
