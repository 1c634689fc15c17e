"""Which tests run side by side: those that share a server in one process, which starts it once.

With pytest-xdist's `--dist loadgroup` each test goes to some process; tests of one group go to
one. What measures is marked `alone` and left for a run without others.
"""

from collections.abc import Sequence

import pytest

# Started once a session; of two that one test uses, the first decides.
SHARED = ("stack", "scripted", "simulated_server", "openvino_server", "openvino_repository")


def group(items: Sequence[pytest.Item]) -> None:
    """Put tests that share a server, or what a module makes once, into a group."""
    for item in items:
        if shared := _shared_by(item):
            item.add_marker(pytest.mark.xdist_group(shared))


def _shared_by(item: pytest.Item) -> str:
    """Return what a test shares with others; nothing if it may run anywhere."""
    definitions = item._fixtureinfo.name2fixturedefs  # type: ignore[attr-defined]
    for name in SHARED:
        if name in definitions:
            return name
    own = [name for name, found in definitions.items() if found[-1].scope == "module"]
    return f"{item.path.name}:{own[0]}" if own else ""
