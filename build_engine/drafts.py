"""Trees of draft tokens, as EAGLE follows them. Drafts nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from build_engine.spec import Speculative

Choices = tuple[tuple[int, ...], ...]
# The backend's own, mc_sim_7b_63: its nodes, its depth, and the most of a depth with children.
_DEFAULT = (63, 4, 10)


def tree_problems(speculative: Speculative) -> Iterator[str]:
    """Yield where a tree of choices does not fit what the engine is built for."""
    choices = speculative.eagle_choices
    if choices and not is_tree(choices):
        yield (
            "speculative.eagle_choices: each is a path of choices from the root, counted from 0, "
            "and what leads to it is there too, once"
        )
        return
    name = "speculative.eagle_choices" if choices else "the backend's eagle_choices (mc_sim_7b_63)"
    nodes, depth, parents = sizes_of(choices) if choices else _DEFAULT
    if speculative.max_draft_len < nodes:
        yield (
            f"speculative.max_draft_len: {speculative.max_draft_len} is less than the {nodes} "
            f"drafts of {name}"
        )
    if speculative.eagle_layers != depth:
        yield f"speculative.eagle_layers: {speculative.eagle_layers}, but {name} go {depth} deep"
    if speculative.eagle_non_leaves < parents:
        yield (
            f"speculative.eagle_non_leaves: {speculative.eagle_non_leaves} is less than the "
            f"{parents} of one depth that go on in {name}"
        )


def is_tree(choices: Choices) -> bool:
    """Tell whether every path is there once, with all that leads to it."""
    paths = set(choices)
    return len(paths) == len(choices) and all(
        path and min(path) >= 0 and (len(path) == 1 or path[:-1] in paths) for path in paths
    )


def sizes_of(choices: Choices) -> tuple[int, int, int]:
    """Return the number of nodes of a tree, its depth, and the most nodes of one depth that have
    children."""
    parents = {path[:-1] for path in choices if len(path) > 1}
    by_depth = Counter(len(path) for path in parents)
    return len(choices), max(map(len, choices)), max(by_depth.values(), default=0)


def as_parameter(choices: Choices) -> str:
    """Return choices as the backend's config takes them: {0}, {0, 1}."""
    return ", ".join("{" + ", ".join(map(str, path)) + "}" for path in choices)
