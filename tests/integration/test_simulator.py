"""Scripted answers keep the contract of TensorRT-LLM, in a real tritonserver: of the simulator, and
of our engine on the LLM API over a stand-in for that."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tokenizers import Tokenizer

from build_engine.repository import Repository
from gateway.embedded.tritonserver import TritonServer
from tests.conftest import Figure
from tests.integration.inference import Client, EngineError, read

END_ID = 2
WORD = 17


@pytest.fixture(scope="module", params=["simulated", "llm_api"])
def client(request: pytest.FixtureRequest) -> Client:
    server: TritonServer = request.getfixturevalue(f"{request.param}_server")
    return Client(server)


@pytest.fixture(scope="module")
def tokenizer(openvino_repository: Repository) -> Tokenizer:
    return Tokenizer.from_file(str(openvino_repository.tokenizer_dir / "tokenizer.json"))


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def test_an_answer_is_scripted_by_text(client: Client, tokenizer: Tokenizer) -> None:
    prompt = encode(tokenizer, "What is the capital of France?")

    deltas = client.ask(prompt, 64, end_id=END_ID, streaming=True)

    ids = [token for delta in deltas for token in delta.ids]
    assert tokenizer.decode(ids) == "The capital of France is Paris."
    assert len(deltas) == len(ids) + 1
    assert (deltas[-1].ids, deltas[-1].is_final) == ([], True)


def test_an_answer_is_scripted_by_ids(client: Client) -> None:
    assert client.sequences([1000, 2000, 3000], 64, end_id=END_ID) == {0: [4000, 5000]}


def test_deltas_have_the_sizes_that_the_script_gives(client: Client, tokenizer: Tokenizer) -> None:
    prompt = encode(tokenizer, "Answer in uneven deltas.")

    deltas = client.ask(prompt, 64, end_id=END_ID, streaming=True)

    assert [len(delta.ids) for delta in deltas] == [3, 2, 1]


def test_an_answer_may_end_in_a_stop_word(client: Client, tokenizer: Tokenizer) -> None:
    prompt = encode(tokenizer, "End in a stop word.")

    ids = client.sequences(prompt, 64, end_id=END_ID, stop_words_list=[[WORD], [1]])[0]

    assert (tokenizer.decode(ids[:-1]), ids[-1]) == ("I say so", WORD)


def test_an_answer_may_go_on_to_the_limit(client: Client, tokenizer: Tokenizer) -> None:
    prompt = encode(tokenizer, "Go on to the limit.")

    ids = client.sequences(prompt, 9, end_id=END_ID)[0]

    assert tokenizer.decode(ids).startswith("on and on")
    assert len(ids) == 9


def test_an_unknown_prompt_gets_the_same_ordinary_words_each_time(
    client: Client, tokenizer: Tokenizer
) -> None:
    answers = [client.sequences([7, 8, 9], 12, end_id=END_ID)[0] for _ in range(2)]

    assert answers[0] == answers[1]
    assert len(answers[0]) == 12
    assert tokenizer.decode(answers[0]).replace(" ", "").isalpha()


def test_sequences_take_the_alternatives_in_turn(client: Client, tokenizer: Tokenizer) -> None:
    prompt = encode(tokenizer, "Three ways to greet?")

    sequences = client.sequences(prompt, 64, end_id=END_ID, num_return_sequences=3, streaming=True)

    texts = {index: tokenizer.decode(ids) for index, ids in sequences.items()}
    assert texts == {0: "Hello.", 1: "Hi!", 2: "Good day."}


def test_log_probs_and_reused_blocks_are_scripted(client: Client, tokenizer: Tokenizer) -> None:
    prompt = encode(tokenizer, "Are you certain?")

    (whole,) = client.ask(
        prompt, 64, end_id=END_ID, return_log_probs=True, return_perf_metrics=True
    )

    assert whole.tensors["output_log_probs"].tolist() == [[[-0.25] * len(whole.ids)]]
    assert whole.tensors["cum_log_probs"].item() == -0.25 * len(whole.ids)
    assert whole.tensors["kv_cache_reused_blocks"].item() == 3


@pytest.mark.parametrize(
    ("text", "num_tokens", "message"),
    [
        ("Please fail at once.", 0, "out of luck"),
        ("Please fail later.", 3, "out of luck"),
        ("Please crash.", 2, "the step went wrong"),
    ],
    ids=["error at once", "error later", "crash"],
)
def test_a_fault_comes_after_so_many_tokens(
    client: Client, tokenizer: Tokenizer, text: str, num_tokens: int, message: str
) -> None:
    received: list[int] = []

    with pytest.raises(EngineError, match=message):
        for delta in read(client.open(encode(tokenizer, text), 64, end_id=END_ID, streaming=True)):
            received += delta.ids

    assert len(received) == num_tokens


def test_a_crash_fails_those_in_flight_and_nobody_after(
    client: Client, tokenizer: Tokenizer
) -> None:
    neighbour = read(client.open(encode(tokenizer, "hang"), 64, end_id=END_ID, streaming=True))
    next(neighbour)

    with pytest.raises(EngineError, match="the step went wrong"):
        client.ask(encode(tokenizer, "crash"), 64)

    with pytest.raises(EngineError, match="the step went wrong"):
        next(neighbour)
    assert client.sequences([1000, 2000, 3000], 64, end_id=END_ID) == {0: [4000, 5000]}


def test_a_stalled_sequence_goes_on_later_and_holds_up_no_other(
    client: Client, tokenizer: Tokenizer
) -> None:
    stalled = read(client.open(encode(tokenizer, "pause"), 64, end_id=END_ID, streaming=True))
    next(stalled)
    arrived: list[str] = []

    def read_on() -> list[int]:
        tokens = [token for delta in stalled for token in delta.ids]
        arrived.append("stalled")
        return tokens

    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(read_on)
        client.ask([1000, 2000, 3000], 64, end_id=END_ID)
        arrived.append("other")

    assert arrived == ["other", "stalled"]
    assert tokenizer.decode(rest.result()) == " two"


def test_stop_and_cancellation_end_a_stalled_generation(
    client: Client, tokenizer: Tokenizer
) -> None:
    prompt = encode(tokenizer, "hang")
    stopped = read(client.open(prompt, 64, "stalled", streaming=True))
    cancelled = client.open(prompt, 64, streaming=True)
    next(stopped)
    next(read(cancelled))

    client.ask([0], 0, "stalled", stop=True)
    cancelled.cancel()

    assert [delta.ids for delta in stopped] == [[]]
    while client.num_active():
        time.sleep(0.02)


def test_a_full_queue_refuses_the_newest_until_there_is_room(
    client: Client, tokenizer: Tokenizer
) -> None:
    prompt = encode(tokenizer, "hang")
    everything = client.open(prompt, 64, "all slots", streaming=True, num_return_sequences=64)
    next(read(everything))
    answers: list[dict[int, list[int]]] = []

    def wait_in_line() -> None:
        answers.append(client.sequences([1000, 2000, 3000], 64, end_id=END_ID))

    waiting = [threading.Thread(target=wait_in_line) for _ in range(8)]
    for thread in waiting:
        thread.start()
    while client.num_active() < 9:
        time.sleep(0.02)
    with pytest.raises(EngineError, match="Exceeds maximum queue size"):
        client.ask(prompt, 4)
    everything.cancel()
    for thread in waiting:
        thread.join()

    assert answers == [{0: [4000, 5000]}] * 8


def test_tensors_that_the_script_cannot_contradict_are_accepted(
    client: Client,
) -> None:
    sequences = client.sequences(
        [1000, 2000, 3000],
        64,
        end_id=END_ID,
        guided_decoding_guide_type="regex",
        guided_decoding_guide="[0-9]+",
        embedding_bias=[1.0, 2.0],
        bad_words_list=[[4000], [1]],
    )

    assert sequences == {0: [4000, 5000]}


def test_streams_side_by_side_get_every_delta(client: Client, figure: Figure) -> None:
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda at: client.ask([at, 8, 9], 400, streaming=True), range(8))
        counts = [len(deltas) for deltas in answers]

    figure(f"one instance sent {sum(counts) / (time.monotonic() - started):.0f} deltas/s")
    assert counts == [400] * 8
