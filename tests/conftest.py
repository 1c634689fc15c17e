"""What all rings share: Llama 3's tokenizers, and figures that are told at the end of the run."""

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llama_models.llama3
import pytest
from filelock import FileLock

from build_engine.progress import silent
from build_engine.smollm2 import cache_folder, fetch
from build_engine.tokenizer import ReleaseName, convert
from tests.shared_servers import DEATHS
from tests.side_by_side import Groups, write_groups

Figure = Callable[[str], None]
GROUPS = Path(tempfile.gettempdir(), f"test-groups-{os.getpid()}.json")
"""Which tests share something, of the process that hands them out to others."""


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Report a line of findings at the end of the test run."""
    return lambda line: record_property("figure", line)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["groups"] = str(GROUPS)


def pytest_collection_finish(session: pytest.Session) -> None:
    if given := getattr(session.config, "workerinput", None):
        write_groups(session.items, Path(given["groups"]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups | None:
    return Groups(config, log, GROUPS) if config.getvalue("dist") == "loadgroup" else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    GROUPS.unlink(missing_ok=True)
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["deaths"] = DEATHS


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what another process that tested knows of the deaths of its servers."""
    DEATHS.extend(getattr(node, "workeroutput", {}).get("deaths", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    for report in reports:
        for name, line in report.user_properties:
            if name == "figure":
                terminalreporter.write_line(str(line))
    for death in DEATHS:
        terminalreporter.write_line(f"a shared server died: {death}")


@pytest.fixture(scope="session")
def meta_tokenizer() -> Path:
    """Meta's own tokenizer.model for Llama 3."""
    return Path(llama_models.llama3.__file__).parent / "tokenizer.model"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes have which test."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def fetched_model(shared: Path) -> Path:
    """The default model in its cache, fetched by one process while the others wait."""
    with FileLock(shared / "model.lock"):
        return fetch(cache_folder(), silent)


@pytest.fixture(scope="session")
def release_folder(shared: Path, meta_tokenizer: Path) -> Callable[[ReleaseName], Path]:
    """Make the tokenizer folder of a Llama 3 release, once for all processes that test."""

    @cache
    def folder(release: ReleaseName) -> Path:
        target = shared / release
        with FileLock(f"{target}.lock"):
            if not target.exists():
                making = shared / f"{release}.making"
                convert(meta_tokenizer, making, release)
                making.rename(target)
        return target

    return folder


@pytest.fixture(scope="session")
def llama3_folder(release_folder: Callable[[ReleaseName], Path]) -> Path:
    """A tokenizer folder as Llama 3.1 has it: 128,256 tokens, 256 of them special."""
    return release_folder("llama-3.1")
