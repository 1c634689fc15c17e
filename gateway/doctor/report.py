"""Findings for people, and for programs."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence

import orjson

from gateway.doctor.finding import Finding, State

SIGNS = {State.FINE: "ok   ", State.ODD: "look ", State.WRONG: "WRONG"}
NARROWEST, WIDEST = 40, 100


def as_lines(findings: Sequence[Finding]) -> str:
    """Return findings with what to type below each, folded to the terminal, and a verdict."""
    width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size((80, 24)).columns))
    lines = [line for finding in findings for line in _lines(finding, width)]
    return "\n".join([*lines, "", *textwrap.wrap(_verdict(findings), width)])


def to_json(findings: Sequence[Finding]) -> str:
    """Return findings as a JSON list."""
    told = [{**one._asdict(), "state": one.state.value} for one in findings]
    return orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()


def _lines(finding: Finding, width: int) -> Iterator[str]:
    first = f"{SIGNS[finding.state]} {finding.place}: {finding.told}"
    yield from textwrap.wrap(first, width, subsequent_indent=" " * 6)
    if finding.advice:
        yield from textwrap.wrap(
            f"to do: {finding.advice}", width, initial_indent=" " * 6, subsequent_indent=" " * 13
        )


def _verdict(findings: Sequence[Finding]) -> str:
    num_wrong = sum(finding.is_wrong for finding in findings)
    num_odd = sum(finding.state is State.ODD for finding in findings)
    if num_wrong:
        return f"{num_wrong} to mend before it can serve, {num_odd} to look at."
    return f"Nothing keeps it from serving; {num_odd} to look at."
