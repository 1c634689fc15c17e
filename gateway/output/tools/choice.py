"""Which tools a model may or must call. Knows no wire format."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Auto:
    """The model decides between text and calls."""


@dataclass(frozen=True, slots=True)
class NoTools:
    """The model only writes text."""


@dataclass(frozen=True, slots=True)
class Required:
    """The model calls at least one tool."""


@dataclass(frozen=True, slots=True)
class Named:
    """The model calls this one tool."""

    name: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """As Auto, or as Required, but of the tools only these."""

    names: tuple[str, ...]
    required: bool = False


ToolChoice = Auto | NoTools | Required | Named | Allowed
