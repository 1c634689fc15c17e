"""Which tests run side by side: those that share a server in one process, which starts it once.

With pytest-xdist's `--dist loadgroup` each test goes to some process; tests of one group go to
one. What measures is marked `alone` and left for a run without others. The processes that collect
tests write groups to a file, as pytest-xdist 3.8 cannot hand them over since pytest 9.2.
"""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Started once a session; of two that one test uses, the first decides.
SHARED = (
    "llm_api",
    "stack",
    "scripted",
    "fleet",
    "simulated_server",
    "openvino_server",
    "openvino_repository",
)


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Hands tests out in groups; those of none one by one, last."""

    def __init__(self, config: pytest.Config, log: Any, file: Path) -> None:
        super().__init__(config, log)
        self._file = file

    @cached_property
    def _groups(self) -> dict[str, str]:
        groups: dict[str, str] = json.loads(self._file.read_text())
        return groups

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)


def write_groups(items: Sequence[pytest.Item], file: Path) -> None:
    """Write down the group of every test that has one."""
    groups = {item.nodeid: shared for item in items if (shared := _shared_by(item))}
    writing = file.with_suffix(f".{os.getpid()}")
    writing.write_text(json.dumps(groups))
    writing.replace(file)


def _shared_by(item: pytest.Item) -> str:
    """Return what a test shares with others; nothing if it may run anywhere."""
    definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    for name in SHARED:
        if name in definitions:
            return name
    own = [name for name, found in definitions.items() if found[-1].scope == "module"]
    return f"{item.path.name} {own[0]}" if own else ""
