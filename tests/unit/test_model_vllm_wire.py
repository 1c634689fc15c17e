"""Frames between the model's process and vLLM's, however the bytes are cut."""

import pytest
from backend.engines.vllm import wire

MESSAGES: list[wire.FromEngine] = [
    wire.Ready(8192, 16, 128_256),
    wire.Gained(3, [1, 2], [-0.5, -1.5], False, 32, tops=[[(1, -0.5)], [(9, -0.1)]]),
    wire.Gained(4, [], [], True, -1, "no", True, prompt=([-0.25], [[(5, -0.25)]])),
    wire.Failed("no GPU"),
]


@pytest.mark.parametrize("size", [1, 3, 64, 10_000])
def test_frames_arrive_whole_in_pieces_of_any_size(size: int) -> None:
    data = wire.frame(MESSAGES[:2]) + wire.frame(MESSAGES[2:])
    frames = wire.Frames()

    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    received = [one for piece in pieces for one in frames.feed(piece, wire.from_engine)]

    assert received == MESSAGES


def test_a_frame_that_is_too_long_is_refused_before_it_arrives() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        wire.Frames().feed(b"\xff\xff\xff\xff", wire.from_engine)
