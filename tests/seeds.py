"""Tests that hold for any seed: tried with many, other ones in each run."""

from collections.abc import Callable
from functools import wraps
from inspect import signature
from random import Random

Test = Callable[..., None]


def seeds(count: int) -> Callable[[Test], Test]:
    """Run a test once for each of so many random seeds; a failure tells its seed.

    Where all is drawn from a seed, a strategy for integers would find nothing smaller, and take
    five times as long.
    """

    def tried(test: Test) -> Test:
        @wraps(test)
        def with_all(**fixtures: object) -> None:
            chance = Random()
            for _ in range(count):
                seed = chance.randrange(2**32)
                try:
                    test(seed=seed, **fixtures)
                except Exception as error:
                    raise AssertionError(f"with the seed {seed}") from error

        asked = signature(test)
        kept = [one for name, one in asked.parameters.items() if name != "seed"]
        with_all.__signature__ = asked.replace(parameters=kept)  # type: ignore[attr-defined]
        return with_all

    return tried
