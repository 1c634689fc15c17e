"""What both command lines draw fits a terminal of 80 columns; commands to paste stay whole."""

import pytest
import typer.testing

import build_engine.cli
import gateway.cli
from build_engine.spec import shipped_specs

TO_PASTE = ("  download ", "  python3 ", "  trtllm-build ")


def drawn(app: typer.Typer, *arguments: str) -> list[str]:
    result = typer.testing.CliRunner().invoke(
        app, arguments, env={"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"}
    )
    assert result.exit_code in (0, 3), result.output
    return [line for line in result.output.splitlines() if not line.startswith(TO_PASTE)]


@pytest.mark.parametrize("spec", shipped_specs())
def test_a_plan_fits(spec: str) -> None:
    if spec.endswith("llmapi"):
        pytest.skip("it is built by no plan")

    lines = drawn(build_engine.cli.app, "plan", spec)

    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize(
    ("app", "arguments"),
    [
        (build_engine.cli.app, ["specs"]),
        (build_engine.cli.app, ["--help"]),
        (gateway.cli.app, ["--help"]),
        *((gateway.cli.app, [name, "--help"]) for name in ("up", "serve", "doctor", "init")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_table_or_a_help_text_fits(app: typer.Typer, arguments: list[str]) -> None:
    lines = drawn(app, *arguments)

    assert lines
    assert [line for line in lines if len(line) > 80] == []
