"""The tool call formats by name."""

from collections.abc import Mapping
from typing import Any

PARSERS: Mapping[str, type[Any]] = {}
