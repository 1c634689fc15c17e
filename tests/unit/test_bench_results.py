"""Results of the gateway's own benchmark, as they are committed."""

import json
from pathlib import Path
from xml.etree import ElementTree

from bench.cost import FIGURES
from bench.machine import Machine
from bench.results import Results

MACHINE = Machine("A CPU", 2, "3.11.7", 0.5, 1.5)


def results() -> Results:
    found = Results(MACHINE)
    for value in (1.0, 30.0, 2.0):
        found.add("ours", dict.fromkeys(FIGURES, value))
        found.add("a peer", dict.fromkeys([key for key in FIGURES if "triton" not in key], 200.4))
    return found


def test_the_table_tells_medians_with_their_spread() -> None:
    table = results().to_markdown()

    assert "Medians of 3 repeats" in table
    assert "A CPU, 2 cores, Python 3.11.7" in table
    assert "| us/token, 32 streams of 20 ms | 2 (1 - 30) | 200 (200 - 200) |" in table
    assert "real tritonserver | 2 (1 - 30) | - |" in table


def test_files_have_every_value_and_no_name_of_a_machine(tmp_path: Path) -> None:
    results().write(tmp_path)

    content = json.loads((tmp_path / "cost.json").read_text())
    assert content["values"]["ours"]["rss_mib"] == [1.0, 30.0, 2.0]
    assert set(content["machine"]) == {"cpu", "cores", "python", "load_before", "load_after"}
    assert ElementTree.parse(tmp_path / "cost.svg").getroot().tag.endswith("svg")
    assert "200" in (tmp_path / "cost.md").read_text()
