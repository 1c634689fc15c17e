"""Tables in the documentation that state facts about the code."""

import re
from pathlib import Path

import pytest

from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def test_the_settings_page_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs/settings.md").read_text()

    rows = [row for row in page.splitlines() if row.startswith("| `GATEWAY_")]

    assert rows == [
        f"| `GATEWAY_{name.upper()}` | {field.default} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]


def test_every_runtime_dependency_is_defended() -> None:
    page = (ROOT / "docs/dependencies.md").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    runtime = project[project.index("dependencies = [") : project.index("[project.optional")]

    for name in re.findall(r'^  "([\w-]+)', runtime, re.MULTILINE):
        assert f"| {name} |" in page


def test_what_is_pasted_to_connect_a_client_stands_in_a_script_that_is_run() -> None:
    page = (ROOT / "docs/clients.md").read_text()
    scripts = [path.read_text() for path in (ROOT / "tests/e2e/clients").rglob("*.*py")]
    scripts += [path.read_text() for path in (ROOT / "tests/e2e/clients/node").glob("*.mjs")]

    blocks = re.findall(r"^```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)

    assert len(blocks) > 5
    for block in blocks:
        _, _, call = block.strip().partition(" = ")
        assert any(call in script for script in scripts), block


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_what_a_page_points_to_is_there(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    missing = [target for target in targets if not (page.parent / target).exists()]

    assert missing == []


def test_every_claim_of_the_comparison_names_a_test_that_is_there() -> None:
    page = (ROOT / "docs/comparison.md").read_text()

    tests = re.findall(r"\| `(tests/[^`]+)` \|", page)

    assert len(tests) > 8
    assert [path for path in tests if not (ROOT / path).is_file()] == []


def test_every_page_is_found_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()

    assert [
        page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name})" not in readme
    ] == []
