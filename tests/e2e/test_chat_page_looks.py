"""How the chat page looks: to those who do not see it, by axe; and to those who do, in pictures."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import gettempdir

import httpx
import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page

from tests.browser import PHONE, Visit, chromium
from tests.e2e.conftest import Stack
from tests.e2e.test_clients import cached

HERE = Path(__file__).parent
PICTURES = Path(__file__).parents[2] / "docs/pictures"
"""Where `make pictures` wants them; a test run that does not say so looks and throws away."""

BUSY_S = 60
IMPACTS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's source, out of npm."""
    with FileLock(Path(gettempdir(), "gateway-tests-axe.lock")):
        folder = cached(HERE / "web/package-lock.json", "", install)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


def install(folder: Path, lock: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        (folder / name).write_bytes(lock.with_name(name).read_bytes())
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"axe-core cannot be had from npm: {error}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, scripted: Stack, axe: str, theme: str) -> None:
    # axe is put into the page, which the page's own policy would not let be.
    context = browser.new_context(color_scheme=theme, bypass_csp=True)  # type: ignore[arg-type]
    visit = Visit(context).open(scripted.url)
    page = visit.page
    page.evaluate(axe)

    found = {"empty": violations(page)}
    visit.ask("Tell me of three rivers")
    page.get_by_role("button", name="Parameters", exact=True).click()
    found["answered, with parameters"] = violations(page)
    page.keyboard.press("Alt+h")
    found["a dialog"] = violations(page)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Server").click()
    page.locator("#server-state[data-state=up]").wait_for()
    found["the server"] = violations(page)
    page.set_viewport_size(PHONE)
    page.get_by_role("link", name="Back to chat").click()
    page.get_by_role("button", name="Conversations").click()
    found["a phone, its list open"] = violations(page)

    context.close()
    assert not any(found.values()), found


def violations(page: Page) -> list[str]:
    """Return what axe finds, once nothing moves any more."""
    page.evaluate(
        "Promise.all(document.getAnimations().map((one) => one.finished.catch(() => {})))"
    )
    results = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in results["violations"]
        if one["impact"] in IMPACTS
        for node in one["nodes"]
    ]


def test_pictures_are_taken(browser: Browser, scripted: Stack, tmp_path: Path) -> None:
    is_wanted = bool(os.environ.get("GATEWAY_PICTURES"))
    folder = PICTURES if is_wanted else tmp_path
    folder.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    visit = Visit(context).open(scripted.url)

    visit.ask("Tell me of three rivers")
    visit.page.mouse.move(0, 0)
    visit.page.screenshot(path=folder / "chat.png")
    visit.page.keyboard.press("Alt+t")
    visit.page.keyboard.press("Alt+p")
    visit.page.screenshot(path=folder / "chat-dark.png")
    visit.page.keyboard.press("Alt+t")
    visit.page.keyboard.press("Alt+s")
    visit.page.locator("#server-state[data-state=up]").wait_for()
    if is_wanted:
        keep_busy(scripted, visit.page)
    visit.page.screenshot(path=folder / "server.png")
    visit.page.set_viewport_size(PHONE)
    visit.page.get_by_role("link", name="Back to chat").click()
    visit.page.screenshot(path=folder / "phone.png")

    pictures = sorted(path.name for path in folder.glob("*.png"))
    assert {"chat.png", "chat-dark.png", "phone.png", "server.png"} <= set(pictures)
    assert visit.problems == []
    context.close()


def keep_busy(stack: Stack, page: Page) -> None:
    """Let the plots have something to show: questions for a while, more and less of them."""
    with ThreadPoolExecutor(8) as pool:
        for number in range(BUSY_S):
            for _ in range(1 + number % 7):
                pool.submit(ask_at_length, stack)
            page.wait_for_timeout(1000)


def ask_at_length(stack: Stack) -> None:
    body = {
        "model": stack.model,
        "messages": [{"role": "user", "content": "goes on"}],
        "max_tokens": 400,
    }
    httpx.post(f"{stack.url}/v1/chat/completions", json=body, timeout=60)
