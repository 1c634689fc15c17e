"""Tokenizer folders that several test files read, and the figures that tests report."""

from collections.abc import Callable
from pathlib import Path

import llama_models.llama3
import pytest

from build_engine.tokenizer import convert

Figure = Callable[[str], None]


@pytest.fixture(scope="session")
def meta_tokenizer() -> Path:
    """Meta's own tokenizer.model for Llama 3."""
    return Path(llama_models.llama3.__file__).parent / "tokenizer.model"


@pytest.fixture(scope="session")
def llama3_folder(tmp_path_factory: pytest.TempPathFactory, meta_tokenizer: Path) -> Path:
    """A tokenizer folder as Llama 3.1 has it: 128,256 tokens, 256 of them special."""
    folder = tmp_path_factory.mktemp("llama-3.1")
    convert(meta_tokenizer, folder, "llama-3.1")
    return folder


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Report a line of findings at the end of the test run."""
    return lambda line: record_property("figure", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for report in reports:
        for name, line in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(str(line))
