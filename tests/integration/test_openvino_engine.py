"""The OpenVINO engine under the loop, without Triton: what no request can be made to cause."""

from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from stand_in.contract import Guide, Request
from stand_in.loop import Loop
from stand_in.openvino_engine import OpenVinoEngine
from stand_in.responses import Delta

from build_engine.repository import Repository

BAD_GUIDE = Guide("regex", "((((")


class GullibleEngine(OpenVinoEngine):
    """Lets guides through that do not compile, so that the pipeline raises in its step."""

    def _check_guide(self, guide: Guide) -> None:
        pass


class Caller(Future[list[int]]):
    """Gathers the ids of one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self._ids: list[int] = []

    def is_cancelled(self) -> bool:
        return False

    def send(self, delta: Delta, is_final: bool) -> None:
        self._ids += delta.ids
        if is_final:
            self.set_result(self._ids)

    def end(self) -> None:
        self.set_result(self._ids)

    def fail(self, error: Exception) -> None:
        self.set_exception(error)


@pytest.fixture
def loop(openvino_repository: Repository) -> Iterator[Loop]:
    model = openvino_repository.path / "tensorrt_llm" / "1" / "model.gguf"
    loop = Loop(GullibleEngine(model, max_num_seqs=4), report=lambda load: None)
    yield loop
    loop.close()


def test_a_step_that_raises_fails_those_in_flight_and_the_pipeline_recovers(loop: Loop) -> None:
    fine = Request(id="fine", input_ids=(504, 1695), max_tokens=8)
    before, in_flight, poison, after = (Caller() for _ in range(4))
    loop.submit(fine, before)
    expected = before.result(timeout=30)

    loop.submit(Request(id="long", input_ids=(504, 1695), max_tokens=4000), in_flight)
    loop.submit(Request(id="bad", input_ids=(504,), max_tokens=8, guide=BAD_GUIDE), poison)

    assert "parenthesis is not closed" in str(poison.exception(timeout=30))
    assert str(in_flight.exception(timeout=30)) == str(poison.exception())
    loop.submit(fine, after)
    assert after.result(timeout=30) == expected
