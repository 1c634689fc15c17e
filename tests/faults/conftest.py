"""The fleet that all tests of faults share; how long they take is bounded unless told otherwise."""

from collections.abc import Iterator

import pytest

from tests.faults.fleet import Fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three Tritons and a gateway."""
    with Fleet(tmp_path_factory.mktemp("fleet")).running() as fleet:
        yield fleet
