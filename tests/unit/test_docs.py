"""Tables in the documentation that state facts about the code."""

import re
from pathlib import Path

from gateway.settings import Settings

ROOT = Path(__file__).parents[2]


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
