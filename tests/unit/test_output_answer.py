"""Answers: tokens to events, the same for every split, with the right end and the right counts."""

from collections.abc import Iterable, Iterator
from itertools import count
from random import Random
from typing import Any

import pytest

from gateway.generation import Delta, Finished, FinishReason, TextDelta
from gateway.output.answer import Answer, AnswerSpec, new_call_id
from gateway.output.events import (
    ChoiceEnd,
    Content,
    Event,
    StopCause,
    TokenLogprob,
    ToolCallArguments,
    ToolCallBegin,
)
from gateway.output.tools.choice import Auto, Named, Required, ToolChoice
from gateway.output.vocabulary import Vocabulary
from tests.seeds import seeds
from tests.unit.splitting import pieces
from tests.unit.tokenizer_backends import byte_level, ids_of

BACKEND = byte_level()
VOCABULARY = Vocabulary.from_backend(BACKEND)
CALL = '{"name": "get", "parameters": {"a": 1}}'
STOPPED, LIMITED = Finished((FinishReason.STOP,)), Finished((FinishReason.LENGTH,))


def encoded(text: str) -> list[int]:
    """One id per byte: the byte itself, as far as the vocabulary is concerned."""
    return [VOCABULARY.tokens.index(bytes([byte])) for byte in text.encode()]


def answer_for(spec: AnswerSpec) -> Answer:
    numbers = count()
    return Answer(spec, VOCABULARY, lambda: f"call_{next(numbers)}")


def events_of(
    spec: AnswerSpec, deltas: Iterable[Delta | TextDelta], finished: Finished = STOPPED
) -> tuple[list[Event], int]:
    """All events of an answer and its token count, the engine closed at a stop as it must be."""
    answer, events = answer_for(spec), []
    for delta in deltas:
        events += answer.push(delta)
        if answer.done:
            return events + answer.cut(), answer.completion_tokens
    return events + answer.finish(finished), answer.completion_tokens


def folded(events: Iterable[Event]) -> dict[str, Any]:
    """One choice's events as its complete message."""
    message: dict[str, Any] = {"text": "", "calls": [], "logprobs": [], "ids": [], "cause": None}
    for event in events:
        match event:
            case Content(_, text, logprobs, ids):
                message["text"] += text
                message["logprobs"] += logprobs
                message["ids"] += ids
            case ToolCallBegin(_, position, call_id, name):
                assert position == len(message["calls"])
                message["calls"].append([call_id, name, ""])
            case ToolCallArguments(_, position, text):
                message["calls"][position][2] += text
            case ChoiceEnd(_, cause):
                assert message["cause"] is None
                message["cause"] = cause
    return message


def deltas_of(ids: list[int], seed: int, index: int = 0) -> Iterator[Delta]:
    for piece in pieces(ids, seed):
        yield Delta(index, piece, [-0.5 * token_id for token_id in piece])


def read(spec: AnswerSpec, text: str, finished: Finished = STOPPED) -> dict[str, Any]:
    events, _ = events_of(spec, [Delta(0, [token_id]) for token_id in encoded(text)], finished)
    return folded(events)


def test_plain_text_is_emitted_as_it_comes() -> None:
    answer = answer_for(AnswerSpec())

    events = [answer.push(Delta(0, [i])) for i in encoded("a😀")]

    assert events == [[Content(0, "a")], [], [], [], [Content(0, "😀")]]
    assert answer.finish(LIMITED) == [ChoiceEnd(0, StopCause.LENGTH)]
    assert answer.completion_tokens == 5


def test_bytes_that_never_became_a_character_are_flushed_at_the_end() -> None:
    events, _ = events_of(AnswerSpec(), [Delta(0, encoded("😀")[:3])])

    assert events == [Content(0, "\ufffd"), ChoiceEnd(0, StopCause.STOP)]


def test_text_and_tokens_of_plain_answers_are_counted() -> None:
    answer = answer_for(AnswerSpec())

    events = answer.push(Delta(0, encoded("ab"))) + answer.push(TextDelta(0, "c", 3))

    assert events == [Content(0, "ab"), Content(0, "c")]
    assert answer.completion_tokens == 5


@pytest.mark.parametrize(
    ("spec", "is_plain"),
    [
        pytest.param(AnswerSpec(num_choices=3, skip_special=False), True, id="plain"),
        pytest.param(AnswerSpec(stops=("a",)), False, id="stops"),
        pytest.param(AnswerSpec(parser="json"), False, id="parser"),
        pytest.param(AnswerSpec(logprobs=True), False, id="logprobs"),
        pytest.param(AnswerSpec(return_token_ids=True), False, id="ids"),
    ],
)
def test_only_text_and_nothing_else_is_plain(spec: AnswerSpec, is_plain: bool) -> None:
    assert spec.is_plain is is_plain


@pytest.mark.parametrize("spec", [AnswerSpec(), AnswerSpec(stops=("END",))], ids=["plain", "stops"])
def test_text_deltas_are_read_like_tokens(spec: AnswerSpec) -> None:
    events, num_tokens = events_of(spec, [TextDelta(0, "on", 1), TextDelta(0, "e EN", 2)])

    assert (folded(events)["text"], num_tokens) == ("one EN", 3)


def test_every_choice_is_read_by_itself() -> None:
    spec = AnswerSpec(num_choices=2, stops=("\n",))
    a, b, stop = (encoded(text) for text in ("a", "b", "c\nd"))
    answer = answer_for(spec)

    events = [answer.push(Delta(i, ids)) for i, ids in ((1, b), (0, a), (1, stop), (1, b), (0, a))]

    assert events == [
        [Content(1, "b")],
        [Content(0, "a")],
        [Content(1, "c")],
        [],
        [Content(0, "a")],
    ]
    assert not answer.done
    assert answer.finish(Finished((FinishReason.LENGTH, FinishReason.LENGTH))) == [
        ChoiceEnd(0, StopCause.LENGTH),
        ChoiceEnd(1, StopCause.STOP),
    ]


def test_an_answer_is_done_once_every_choice_met_a_stop() -> None:
    answer = answer_for(AnswerSpec(num_choices=2, stops=("\n",)))

    done = []
    for index in (0, 0, 1):
        answer.push(Delta(index, encoded("x\n")))
        done.append(answer.done)

    assert done == [False, False, True]
    assert answer.cut() == [ChoiceEnd(0, StopCause.STOP), ChoiceEnd(1, StopCause.STOP)]


@pytest.mark.parametrize(
    ("include", "text"), [(False, "one"), (True, "one\n\n")], ids=["cut", "included"]
)
def test_a_stop_ends_text_and_token_count_wherever_the_delta_ends(include: bool, text: str) -> None:
    spec = AnswerSpec(stops=("\n\n",), include_stop=include)

    events, num_tokens = events_of(spec, [Delta(0, encoded("one\n\ntwo"))], LIMITED)

    assert (folded(events)["text"], num_tokens) == (text, 5)
    assert folded(events)["cause"] is StopCause.STOP


def test_text_held_back_for_a_stop_is_emitted_at_the_end() -> None:
    events, _ = events_of(AnswerSpec(stops=("END",)), [Delta(0, encoded("one EN"))], LIMITED)

    assert events == [Content(0, "one "), Content(0, "EN"), ChoiceEnd(0, StopCause.LENGTH)]


def test_special_tokens_are_skipped_or_kept_as_asked() -> None:
    ids = ids_of(BACKEND, "<s>", "<|python_tag|>")

    texts = [
        folded(events_of(AnswerSpec(skip_special=skip), [Delta(0, ids)])[0])["text"]
        for skip in (True, False)
    ]

    assert texts == ["", "<s><|python_tag|>"]


def test_logprobs_come_with_text_bytes_and_special_tokens_by_name() -> None:
    emoji, special = encoded("😀")[:2], ids_of(BACKEND, "</s>")
    spec = AnswerSpec(logprobs=True, return_token_ids=True)

    events, _ = events_of(spec, [Delta(0, [*emoji, *special], [-1.0, -2.0, -3.0])])

    message = folded(events)
    assert message["ids"] == [*emoji, *special]
    assert message["logprobs"] == [
        TokenLogprob("\ufffd", b"\xf0", -1.0),
        TokenLogprob("\ufffd", b"\x9f", -2.0),
        TokenLogprob("</s>", b"</s>", -3.0),
    ]


def test_tokens_come_with_the_character_they_contribute_to() -> None:
    answer = answer_for(AnswerSpec(return_token_ids=True, stops=("ab!",)))
    ids = [encoded("x"), encoded("é")[:1], encoded("é")[1:], encoded("ab"), encoded("c")]

    events = [answer.push(Delta(0, piece)) for piece in ids]

    assert events == [
        [Content(0, "x", [], ids[0])],
        [],
        [Content(0, "é", [], ids[1] + ids[2])],
        [],
        [Content(0, "abc", [], ids[3] + ids[4])],
    ]


@pytest.mark.parametrize(
    ("include", "num_reported"), [(False, 2), (True, 3)], ids=["cut", "included"]
)
def test_tokens_of_a_stop_that_is_cut_are_not_reported(include: bool, num_reported: int) -> None:
    spec = AnswerSpec(return_token_ids=True, stops=("d\n\n",), include_stop=include)
    ids = [*encoded("a"), *ids_of(BACKEND, "Ġworld", "ĊĊ", "Ċ")]

    events, num_tokens = events_of(spec, [Delta(0, ids)])

    assert folded(events)["ids"] == ids[:num_reported]
    assert num_tokens == 3


TOOLS = AnswerSpec(parser="llama3_json", tools=("get", "put"))


@pytest.mark.parametrize(
    ("choice", "finished", "cause"),
    [
        pytest.param(Auto(), STOPPED, StopCause.TOOL_CALLS, id="auto"),
        pytest.param(Required(), STOPPED, StopCause.TOOL_CALLS, id="required"),
        pytest.param(Named("get"), STOPPED, StopCause.STOP, id="named"),
        pytest.param(Auto(), LIMITED, StopCause.LENGTH, id="limit"),
    ],
)
def test_a_call_is_the_reason_an_answer_ended(
    choice: ToolChoice, finished: Finished, cause: StopCause
) -> None:
    spec = AnswerSpec(parser="json", tools=("get",), tool_choice=choice)

    message = read(spec, CALL, finished)

    assert message["calls"] == [["call_0", "get", '{"a": 1}']]
    assert message["cause"] is cause


@pytest.mark.parametrize(
    ("text", "calls", "content", "cause"),
    [
        pytest.param("Hello", [], "Hello", StopCause.STOP, id="no-call"),
        pytest.param(CALL[:35], [["call_0", "get", '{"a":']], "", StopCause.STOP, id="broken-off"),
        pytest.param(
            f"{CALL}; {CALL}",
            [["call_0", "get", '{"a": 1}'], ["call_1", "get", '{"a": 1}']],
            "",
            StopCause.TOOL_CALLS,
            id="two",
        ),
        pytest.param(
            f"{CALL} x", [["call_0", "get", '{"a": 1}']], " x", StopCause.TOOL_CALLS, id="more"
        ),
    ],
)
def test_calls_are_found_in_tokens(
    text: str, calls: list[list[str]], content: str, cause: StopCause
) -> None:
    message = read(TOOLS, text)

    assert (message["calls"], message["text"], message["cause"]) == (calls, content, cause)


def test_only_the_first_call_is_kept_where_calls_are_not_parallel() -> None:
    spec = AnswerSpec(parser="json", tools=("get",), parallel_tool_calls=False)

    message = read(spec, f"[{CALL}, {CALL}, {CALL}]")

    assert message["calls"] == [["call_0", "get", '{"a": 1}']]


@pytest.mark.parametrize("skip_special", [True, False])
def test_the_python_tag_is_seen_though_special_tokens_are_skipped(skip_special: bool) -> None:
    spec = AnswerSpec(parser="llama3_json", tools=("get",), skip_special=skip_special)
    ids = [*ids_of(BACKEND, "<|python_tag|>"), *encoded("get.call(a=1)")]

    events, _ = events_of(spec, [Delta(0, ids)])

    assert folded(events)["calls"] == [["call_0", "get", '{"a": 1}']]


def test_a_stop_inside_a_call_leaves_what_was_streamed() -> None:
    spec = AnswerSpec(parser="json", tools=("get",), stops=(": 1",))

    message = read(spec, CALL)

    assert (message["calls"], message["cause"]) == ([["call_0", "get", '{"a"']], StopCause.STOP)


def test_call_ids_are_unique() -> None:
    ids = {new_call_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert all(call_id.startswith("call_") for call_id in ids)


FRAGMENTS = [
    CALL,
    "; ",
    "héllo",
    "😀",
    "\n\n",
    "<function=get>",
    "{}",
    "</function>",
    "END",
    "E",
    " x",
]


def drawn(seed: int) -> tuple[AnswerSpec, list[int]]:
    chance = Random(seed)
    ids = encoded("".join(chance.choices(FRAGMENTS, k=chance.randrange(5))))
    for special in chance.sample(["<|python_tag|>", "</s>"], chance.randrange(3)):
        ids[(position := chance.randrange(len(ids) + 1)) : position] = ids_of(BACKEND, special)
    spec = AnswerSpec(
        stops=chance.choice(((), ("\n\n",), ("END", '": 1'))),
        include_stop=chance.random() < 0.3,
        skip_special=chance.random() < 0.7,
        parser=chance.choice((None, "llama3_json", "json")),
        tools=("get",),
        parallel_tool_calls=chance.random() < 0.7,
        logprobs=chance.random() < 0.5,
        return_token_ids=chance.random() < 0.5,
    )
    return spec, ids


@seeds(10_000)
def test_streamed_and_whole_answers_agree(seed: int) -> None:
    spec, ids = drawn(seed)
    logprobs = [-0.5 * token_id for token_id in ids]

    streamed, streamed_tokens = events_of(spec, deltas_of(ids, seed), LIMITED)
    whole, whole_tokens = events_of(spec, [Delta(0, ids, logprobs)], LIMITED)

    assert folded(streamed) == folded(whole)
    assert streamed_tokens == whole_tokens
