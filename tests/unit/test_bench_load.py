"""What the benchmark's client makes of a stream's end."""

import json

import pytest

from bench.load import DONE, Load, stream_tokens

USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 40}}\n\n'
SAID = b'data: {"choices": [{"delta": {"content": "x"}}], "usage": null}\n\n'


def test_tokens_are_those_of_the_last_chunk() -> None:
    assert stream_tokens(SAID[9:] + SAID + USAGE + DONE) == 40


@pytest.mark.parametrize(
    ("tail", "complaint"),
    [(SAID + USAGE, "cut short"), (SAID + DONE, "no usage"), (b"", "cut short")],
    ids=["no end", "no usage", "nothing"],
)
def test_a_stream_without_its_end_or_its_usage_is_a_failure(tail: bytes, complaint: str) -> None:
    with pytest.raises(ConnectionError, match=complaint):
        stream_tokens(tail)


def test_only_a_stream_asks_for_the_usage_of_one() -> None:
    streamed = json.loads(Load("", "m", 1, 1).body())
    whole = json.loads(Load("", "m", 1, 1, stream=False).body())

    assert streamed["stream_options"] == {"include_usage": True}
    assert "stream_options" not in whole
