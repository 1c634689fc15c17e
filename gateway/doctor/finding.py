"""What an examination comes to. Examines nothing."""

from enum import Enum
from typing import NamedTuple


class State(Enum):
    """How it stands: FINE; ODD may be meant so; WRONG keeps the gateway from serving."""

    FINE = "fine"
    ODD = "odd"
    WRONG = "wrong"


class Finding(NamedTuple):
    """What was found in a place, and what to do about it."""

    place: str
    state: State
    told: str
    advice: str = ""

    @property
    def is_wrong(self) -> bool:
        return self.state is State.WRONG


def fine(place: str, told: str) -> Finding:
    """Return that all is well."""
    return Finding(place, State.FINE, told)


def odd(place: str, told: str, advice: str) -> Finding:
    """Return what may be meant so."""
    return Finding(place, State.ODD, told, advice)


def wrong(place: str, told: str, advice: str) -> Finding:
    """Return what has to be mended."""
    return Finding(place, State.WRONG, told, advice)
