"""Responses of `tensorrt_llm` to deltas: by the tensors' names, and cut by their form alike."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from gateway.errors import EngineFailure
from gateway.generation import Delta, FinishReason, Generation, Prompt, PromptLogprobs
from gateway.triton.call import EngineRequest
from gateway.triton.deltas import DeltaReader, form_of

ONE = struct.pack("<i", 1)


def int32s(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)


def streamed(is_final: bool = False, error: str = "", **outputs: bytes) -> bytes:
    """Return a `ModelStreamInferResponse` as Triton sends it."""
    message = pb.ModelStreamInferResponse(error_message=error)
    response = message.infer_response
    response.id, response.model_name, response.model_version = "r1", "tensorrt_llm", "1"
    response.parameters["triton_final_response"].bool_param = is_final
    for name, raw in outputs.items():
        response.outputs.add(name=name, datatype="INT32", shape=[1, 1])
        response.raw_output_contents.append(raw)
    return bytes(message.SerializeToString())


def token(token_id: int, **more: Any) -> bytes:
    return streamed(output_ids=int32s(token_id), sequence_length=ONE, **more)


def reader(**wanted: Any) -> DeltaReader:
    generation = Generation(Prompt((7,), "a"), max_tokens=100, **wanted)
    return DeltaReader(generation, 1000, EngineRequest.of(generation).parse)


class CountingReader(DeltaReader):
    """Counts the messages that had to be parsed."""

    def __init__(self, **wanted: Any) -> None:
        generation = Generation(Prompt((7,), "a"), max_tokens=100, **wanted)
        self.num_parsed = 0
        super().__init__(generation, 1000, self._count)

    def _count(self, message: bytes) -> Any:
        self.num_parsed += 1
        return pb.ModelStreamInferResponse.FromString(message).infer_response


def test_a_delta_reads_only_as_many_tokens_as_the_length_says() -> None:
    message = streamed(output_ids=int32s(5, 6, -1, -1), sequence_length=int32s(2))

    assert list(reader().read([message])) == [Delta(0, [5, 6])]


def test_outputs_are_found_by_name_in_any_order() -> None:
    message = streamed(
        sequence_index=int32s(3),
        sequence_length=ONE,
        output_log_probs=struct.pack("<f", -0.5),
        output_ids=int32s(9),
    )

    deltas = reader(logprobs=True, num_sequences=4).read([message])

    assert list(deltas) == [Delta(3, [9], [-0.5])]


@pytest.mark.parametrize(
    ("outputs", "blocks"),
    [
        pytest.param({"kv_cache_reused_blocks": int32s(3)}, 3, id="reused"),
        pytest.param({}, 0, id="not told"),
    ],
)
def test_reused_blocks_are_told_where_the_response_has_them(
    outputs: dict[str, Any], blocks: int
) -> None:
    read = reader()

    read.read([streamed(output_ids=b"", sequence_length=int32s(0), **outputs)])

    assert read.reused_blocks == blocks


def test_outputs_that_change_places_are_found_again() -> None:
    read = reader()
    read.read([token(7)])

    swapped = streamed(sequence_length=ONE, output_ids=int32s(8))

    assert list(read.read([swapped])) == [Delta(0, [8])]


def test_messages_that_are_there_together_are_one_delta_a_sequence() -> None:
    read = reader(num_sequences=2)
    messages = [token(t, sequence_index=int32s(i)) for t, i in ((5, 0), (6, 1), (7, 0))]

    assert list(read.read(messages)) == [Delta(0, [5, 7]), Delta(1, [6])]


def test_logprobs_of_messages_that_are_there_together_stay_with_their_tokens() -> None:
    messages = [token(t, output_log_probs=struct.pack("<f", p)) for t, p in ((5, -1.0), (6, -2.0))]

    assert list(reader(logprobs=True).read(messages)) == [Delta(0, [5, 6], [-1.0, -2.0])]


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param([(-1.0,), (-1.0, -2.0), (-1.0, -2.0, -3.0)], id="all so far"),
        pytest.param([(-1.0,), (-2.0,), (-3.0,)], id="of the new tokens"),
    ],
)
def test_streamed_logprobs_are_those_of_their_tokens(sent: list[tuple[float, ...]]) -> None:
    read = reader(logprobs=True)

    messages = [token(at, output_log_probs=floats(*listed)) for at, listed in enumerate(sent)]

    deltas = [delta for message in messages for delta in read.read([message])]
    assert deltas == [Delta(0, [at], [-1.0 - at]) for at in range(3)]


def test_logprobs_of_several_sequences_that_grow_at_once_stay_apart() -> None:
    read = reader(logprobs=True, num_sequences=2)
    messages = [
        token(5, sequence_index=int32s(0), output_log_probs=floats(-1.0)),
        token(6, sequence_index=int32s(1), output_log_probs=floats(-4.0)),
        token(7, sequence_index=int32s(0), output_log_probs=floats(-1.0, -2.0)),
        token(8, sequence_index=int32s(1), output_log_probs=floats(-4.0, -5.0)),
    ]

    assert list(read.read(messages)) == [
        Delta(0, [5, 7], [-1.0, -2.0]),
        Delta(1, [6, 8], [-4.0, -5.0]),
    ]


def test_the_likeliest_come_with_their_tokens_and_free_places_are_left_out() -> None:
    read = reader(logprobs=True, num_top=2, end_ids=(6,))
    messages = [
        token(
            5,
            output_log_probs=floats(-1.0),
            top_log_prob_ids=int32s(5, 9),
            top_log_probs=floats(-1.0, -1.5),
        ),
        token(
            6,
            output_log_probs=floats(-2.0),
            top_log_prob_ids=int32s(6, -1),
            top_log_probs=floats(-2.0, float("-inf")),
        ),
    ]

    deltas = [*read.read(messages[:1]), *read.read(messages[1:])]

    assert deltas == [Delta(0, [5], [-1.0], [[(5, -1.0), (9, -1.5)]]), Delta(0, [], [], [])]
    joined = reader(logprobs=True, num_top=2).read(messages)
    assert [list(top) for top in joined[0].tops] == [[(5, -1.0), (9, -1.5)], [(6, -2.0)]]


def test_the_prompt_is_told_of_with_the_first_delta() -> None:
    message = token(
        5,
        output_log_probs=floats(-1.0),
        prompt_log_probs=floats(-0.25, -0.5),
        prompt_top_log_prob_ids=int32s(8, 9),
        prompt_top_log_probs=floats(-0.25, -0.5),
    )
    read = reader(logprobs=True, num_prompt=1)

    [first] = read.read([message])
    [joined] = reader(logprobs=True, num_prompt=1).read(
        [message, token(6, output_log_probs=floats(-2.0))]
    )

    told = PromptLogprobs([-0.25, -0.5], [[(8, -0.25)], [(9, -0.5)]])
    assert first.prompt == joined.prompt == told


def test_of_several_beams_the_first_is_read() -> None:
    message = streamed(
        output_ids=int32s(5, 6, 7, 8),
        sequence_length=int32s(2, 2),
        output_log_probs=floats(-1.0, -2.0, -3.0, -4.0),
    )

    assert list(reader(logprobs=True).read([message])) == [Delta(0, [5, 6], [-1.0, -2.0])]


def test_a_last_response_without_tokens_has_no_logprobs() -> None:
    read = reader(logprobs=True)
    read.read([token(5, output_log_probs=floats(-1.0))])

    last = streamed(True, output_ids=b"", sequence_length=int32s(0), output_log_probs=floats(-1.0))

    assert list(read.read([last])) == [Delta(0, [], [])]


def test_an_empty_final_response_ends_without_a_delta() -> None:
    read = reader()
    read.read([token(5)])

    assert not read.read([streamed(is_final=True)])
    assert read.is_final
    assert read.reasons == (FinishReason.STOP,)


def test_the_end_token_ends_a_sequence_and_is_not_part_of_it() -> None:
    read = reader(end_ids=(2,))

    assert list(read.read([token(5), token(2), streamed(is_final=True)])) == [Delta(0, [5])]


def test_messages_of_one_form_are_parsed_once() -> None:
    read = CountingReader()

    deltas = [delta for i in range(50) for delta in read.read([token(i)])]

    assert deltas == [Delta(0, [i]) for i in range(50)]
    assert read.num_parsed == 1


def test_an_error_among_messages_of_one_form_is_raised() -> None:
    read = reader()
    read.read([token(5)])

    with pytest.raises(EngineFailure):
        read.read([streamed(error="it broke")])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(token(5)[:-1], id="shorter"),
        pytest.param(token(5) + b"\x32\x00", id="longer"),
        pytest.param(streamed(True, output_ids=int32s(5), sequence_length=ONE), id="final"),
        pytest.param(
            streamed(output_ids=int32s(5) + ONE[:2], sequence_length=ONE[:2]), id="other sizes"
        ),
        pytest.param(streamed(other_tensor=int32s(5), sequence_length=ONE), id="other names"),
        pytest.param(streamed(output_ids=int32s(5), sequence_length=int32s(0)), id="other length"),
    ],
)
def test_a_message_of_another_form_is_not_cut(other: bytes) -> None:
    contents = {"output_ids": int32s(7), "sequence_length": ONE}
    form = form_of(token(7), contents, {"output_ids": 1})

    assert form
    assert form.delta(token(6)) == Delta(0, [6])
    assert form.delta(other) is None


@given(
    outputs=st.lists(
        st.sampled_from(["sequence_index", "kv_cache_reused_blocks", "other"]), unique=True
    ),
    logprobs=st.booleans(),
    num_tokens=st.integers(0, 40),
    padding=st.integers(0, 3),
    before=st.integers(0, 3),
    drawn=st.data(),
)
def test_what_a_form_cuts_is_what_protobuf_parses(
    outputs: list[str],
    logprobs: bool,
    num_tokens: int,
    padding: int,
    before: int,
    drawn: st.DataObject,
) -> None:
    required = ["output_ids", "sequence_length", *(["output_log_probs"] if logprobs else [])]
    names = drawn.draw(st.permutations(required + outputs))

    def message() -> bytes:
        numbers = drawn.draw(
            st.lists(st.integers(0, 2**30), min_size=num_tokens, max_size=num_tokens)
        )
        contents: dict[str, Any] = {
            "output_ids": int32s(*numbers, *[-1] * padding),
            "sequence_length": int32s(num_tokens),
            "output_log_probs": floats(*[0.5] * before, *numbers),
            "sequence_index": int32s(drawn.draw(st.integers(0, 2))),
            "kv_cache_reused_blocks": int32s(5),
            "other": b"as it was",
        }
        return streamed(**{name: contents[name] for name in names})

    read = CountingReader(logprobs=logprobs, num_sequences=3)
    messages = [message() for _ in range(3)]

    deltas = [read.read([message]) for message in messages]

    assert deltas == [reader(logprobs=logprobs, num_sequences=3).read([m]) for m in messages]
    has_form = num_tokens + padding < 32 and not (logprobs and before)
    assert read.num_parsed == (1 if has_form else 3)
