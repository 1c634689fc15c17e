"""A real Chromium, that reaches this machine and no other: found, or fetched where it can be."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import gettempdir

import pytest
from filelock import FileLock
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Dialog,
    Page,
    ViewportSize,
    sync_playwright,
)

PACKAGES = ("chromium", "fonts-dejavu-core")
NAMES = ("chromium", "chromium-browser", "google-chrome")
# Whatever a page asks for elsewhere is no name at all.
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
PHONE: ViewportSize = {"width": 390, "height": 844}
PATIENCE_MS = 20_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium; skip, with the reason, where there is none and none can be had."""
    path = find() or fetch()
    if path is None:
        pytest.skip("there is no Chromium here, and neither apt-get nor Playwright brings one")
    arguments = [ALONE, "--no-sandbox"] if os.geteuid() == 0 else [ALONE]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def find() -> str | None:
    """Return the path of an installed Chromium."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@cache
def fetch() -> str | None:
    """Install Debian's Chromium, as root, or else Playwright's; return its path.

    One process at a time: the others wait, and find what it has brought.
    """
    with FileLock(Path(gettempdir(), "gateway-tests-chromium.lock")):
        return find() or _install()


def _install() -> str | None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
        for command in (install, ["apt-get", "update"], install):
            if _runs(command) and (path := find()):
                return path
    if _runs([sys.executable, "-m", "playwright", "install", "chromium"]):
        with sync_playwright() as playwright:
            path = playwright.chromium.executable_path
            return path if Path(path).exists() else None
    return None


def _runs(command: list[str]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, timeout=240)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


class Visit:
    """A page in a browser of its own, and all that went wrong in it."""

    def __init__(self, context: BrowserContext) -> None:
        self.problems: list[str] = []
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.page.on("console", lambda said: self._hear(said.type, said.text))
        self.page.on("pageerror", lambda error: self.problems.append(f"{error}"))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda request: self._look(request.url))

    def _dismiss(self, dialog: Dialog) -> None:
        self.problems.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(f"{kind}: {text}")

    def _look(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.problems.append(f"asked for {url}")

    def open(self, url: str) -> "Visit":
        """Open the chat page; return once it knows the models."""
        self.page.goto(url)
        self.page.locator("#model option").first.wait_for(state="attached")
        return self

    def ask(self, text: str) -> None:
        """Send a message and return once it is answered."""
        self.begin(text)
        self.page.locator(".assistant:not(.running)").last.wait_for()
        self.page.get_by_role("button", name="Send", exact=True).wait_for()

    def begin(self, text: str) -> None:
        """Send a message."""
        self.page.get_by_label("Message", exact=True).fill(text)
        self.page.keyboard.press("Enter")

    @property
    def answer(self) -> str:
        """The text of the last answer."""
        return self.page.locator(".assistant .prose").last.inner_text()
