"""The chat page, in a real Chromium, before a real gateway and a real Triton."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser import PHONE, Visit, chromium
from tests.e2e.conftest import Stack
from tests.e2e.test_exact_answers import WEATHER
from tests.e2e.test_first_light import wait_until_active
from tests.keys import add_key
from tests.serving import gateway_process

FRANCE = "What is the capital of France?"
PARIS = "The capital of France is Paris."
SCRIPT = json.loads((Path(__file__).parent / "script.json").read_text())["answers"]
[HOSTILE] = [row["answer"] for row in SCRIPT if row["contains"] == "hostile"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, scripted: Stack) -> Iterator[Visit]:
    """A page that was never opened before; it must end without a problem."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    visit = Visit(context).open(scripted.url)
    yield visit
    context.close()
    assert visit.problems == []


def test_an_answer_appears_token_by_token(visit: Visit) -> None:
    page = visit.page
    page.evaluate(
        """() => {
          window.seen = [];
          new MutationObserver(() => {
            const prose = document.querySelector(".assistant .prose");
            if (prose) seen.push(prose.innerText);
          }).observe(document.getElementById("thread"), {childList: true, subtree: true});
        }"""
    )

    set_parameter(visit, "Most tokens", "3000")
    visit.ask("goes on")

    seen = list(dict.fromkeys(text for text in page.evaluate("seen") if text.strip()))
    assert len(seen) > 1  # drawn before its end; how often depends on how long drawing takes
    assert all(visit.answer.startswith(text) for text in seen)
    figures = page.locator(".figures").inner_text()
    assert "3,000 tokens" in figures
    for told in ("first", "tokens/s", "prompt", "cut at its limit"):
        assert told in figures


def test_stop_ends_the_generation_in_triton(visit: Visit, scripted: Stack) -> None:
    visit.begin("goes on")
    visit.page.get_by_role("button", name="Stop").wait_for()
    wait_until_active(scripted, 1)

    visit.page.get_by_role("button", name="Stop").click()

    wait_until_active(scripted, 0)
    expect(visit.page.locator(".figures")).to_contain_text("stopped")
    assert visit.answer.startswith("on and on")


def test_what_is_edited_or_answered_again_becomes_a_branch(visit: Visit) -> None:
    page = visit.page
    visit.ask("Say it: end of message")

    page.locator(".user").hover()
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Edit the message").fill(FRANCE)
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .prose")).to_have_text(PARIS)
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".assistant .branches")).to_contain_text("2 / 2")

    expect(page.locator(".user .branches")).to_contain_text("2 / 2")
    page.locator(".user").get_by_role("button", name="Earlier version").click()
    expect(page.locator(".assistant .prose")).to_have_text("Done.")
    page.locator(".user").get_by_role("button", name="Later version").click()
    expect(page.locator(".assistant .prose")).to_have_text(PARIS)


def test_a_function_is_called_and_its_result_answered(visit: Visit) -> None:
    page = visit.page
    set_parameter(visit, "Functions it may call (JSON)", json.dumps([WEATHER]))

    visit.ask("How is the weather in Paris?")
    call = page.get_by_role("group", name="Call of get_weather")
    expect(call).to_contain_text('"city": "Paris"')
    page.get_by_label("Result of get_weather").fill('{"said": "21 degrees in Paris"}')
    page.get_by_role("button", name="Send results").click()

    expect(page.locator(".assistant .prose").last).to_have_text("It is 21 degrees in Paris.")
    expect(page.locator(".tool")).to_contain_text('"said"')


def test_parameters_that_are_no_json_are_told_and_nothing_is_sent(visit: Visit) -> None:
    set_parameter(visit, "Functions it may call (JSON)", "[{")

    visit.begin(FRANCE)

    expect(visit.page.locator("#problem")).to_contain_text("JSON that is none")
    assert visit.page.locator(".assistant").count() == 0


def test_json_is_laid_out(visit: Visit) -> None:
    visit.ask("Extract the person")

    assert '{\n  "name": "Ada",\n  "age": 36\n}' in visit.page.locator("pre").inner_text()
    assert visit.page.locator(".hljs-attr").count() == 2


def test_markdown_is_rendered_and_code_can_be_copied(visit: Visit) -> None:
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    visit.ask("Tell me of three rivers")
    visit.page.get_by_role("button", name="Copy the code").click()

    prose = visit.page.locator(".assistant .prose")
    assert prose.locator("td").count() == 9
    assert prose.locator("ol li").count() == 2
    assert prose.locator(".hljs-keyword").count() >= 2
    copied = visit.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("def longest(")


def test_a_conversation_outlives_its_page_and_a_deletion_can_be_undone(visit: Visit) -> None:
    page = visit.page
    visit.ask(FRANCE)

    page.reload()
    expect(page.locator(".assistant .prose")).to_have_text(PARIS)
    listed = page.locator("#conversations").get_by_role("button", name=FRANCE, exact=True)
    expect(listed).to_have_attribute("aria-current", "page")
    page.get_by_role("button", name=f'Delete "{FRANCE}"').click()
    expect(listed).to_have_count(0)
    page.get_by_role("button", name="Undo").click()

    expect(listed).to_have_count(1)
    expect(page.locator(".assistant .prose")).to_have_text(PARIS)


@pytest.mark.parametrize(("name", "ending"), [("Markdown", "md"), ("JSON", "json")])
def test_a_conversation_is_exported(visit: Visit, name: str, ending: str) -> None:
    visit.ask(FRANCE)

    visit.page.get_by_role("button", name="Export this conversation").click()
    with visit.page.expect_download() as downloading:
        visit.page.get_by_role("button", name=name).click()

    assert downloading.value.suggested_filename == f"What-is-the-capital-of-France.{ending}"
    assert PARIS in downloading.value.path().read_text()


def test_dark_and_light_are_the_systems_until_one_is_chosen(
    browser: Browser, scripted: Stack
) -> None:
    context = browser.new_context(color_scheme="dark")
    visit = Visit(context).open(scripted.url)
    root = visit.page.locator("html")

    expect(root).to_have_attribute("data-theme", "dark")
    visit.page.get_by_role("button", name="Light", exact=True).click()
    visit.page.reload()

    expect(root).to_have_attribute("data-theme", "light")
    assert visit.problems == []
    context.close()


def test_a_phone_has_room_for_it(browser: Browser, scripted: Stack) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    visit = Visit(context).open(scripted.url)
    page = visit.page

    visit.ask("Tell me of three rivers")
    page.get_by_role("button", name="Conversations").tap()
    expect(page.get_by_role("button", name="New conversation")).to_be_in_viewport()
    page.get_by_role("button", name="Close the list").tap()
    page.get_by_role("button", name="Parameters", exact=True).tap()
    expect(page.get_by_label("Temperature")).to_be_in_viewport()

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert visit.problems == []
    context.close()


def test_the_keyboard_is_enough(visit: Visit) -> None:
    page = visit.page
    keys = page.keyboard

    keys.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    keys.press("Enter")
    keys.type("Say it: goes on")
    keys.press("Enter")
    page.get_by_role("button", name="Stop").wait_for()
    keys.press("Escape")
    expect(page.locator(".figures")).to_contain_text("stopped")
    keys.press("ArrowUp")
    expect(page.get_by_label("Edit the message")).to_be_focused()
    keys.press("ControlOrMeta+a")
    keys.type(FRANCE)
    keys.press("Enter")
    expect(page.locator(".assistant .prose")).to_have_text(PARIS)
    keys.press("Alt+r")
    expect(page.locator(".assistant .branches")).to_contain_text("2 / 2")
    keys.press("Alt+n")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    expect(page.locator(".message")).to_have_count(0)
    keys.press("Alt+h")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def test_a_key_is_asked_for_once_and_goes_with_the_tab(browser: Browser, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.yaml", admin=True)
    context = browser.new_context()
    visit = Visit(context)
    page = visit.page

    with gateway_process(GATEWAY_KEYS_FILE=str(tmp_path / "keys.yaml"), HOME=str(tmp_path)) as it:
        page.goto(it.url)
        page.get_by_label("Key", exact=True).fill("not-it")
        page.keyboard.press("Enter")
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        page.locator("#model option").first.wait_for(state="attached")
        visit.ask("Hello")
        page.get_by_role("link", name="Server").click()
        expect(page.locator("#server-state")).to_have_text("Ready")
        page.get_by_role("link", name="API reference").click()
        page.get_by_text("Create Chat Completion").wait_for()

        kept = page.evaluate("[Object.values(sessionStorage), JSON.stringify(localStorage)]")
        page.go_back()
        page.locator("#model option").first.wait_for(state="attached")

    assert kept[0].count(key) == 1
    assert key not in kept[1]
    assert [one for one in visit.problems if "401" not in one] == []
    context.close()


def test_nothing_that_a_model_says_is_executed(visit: Visit) -> None:
    page = visit.page
    set_parameter(visit, "Functions it may call (JSON)", json.dumps([WEATHER]))
    assert HOSTILE.count("alert(1)") > 30

    visit.ask("hostile call")
    expect(page.get_by_role("group", name="Call of get_weather")).to_contain_text("<img src=x")
    page.get_by_role("button", name="New conversation").click()
    visit.ask("hostile <img src=x onerror=alert(1)>")
    expect(page.locator(".assistant .prose")).to_contain_text("The end of it.")
    page.reload()
    expect(page.locator(".assistant .prose")).to_contain_text("The end of it.")
    for link in page.locator(".prose a").all():
        assert str(link.get_attribute("href")).startswith("https://")
        assert link.get_attribute("rel") == "noopener noreferrer nofollow"

    found = page.evaluate(
        """() => [...document.querySelectorAll("#thread *, #conversations *")]
          .flatMap((element) => [element.localName, ...element.getAttributeNames()])"""
    )
    assert not {"script", "iframe", "img", "object", "embed", "style", "form", "base"} & set(found)
    assert [name for name in found if name.startswith("on")] == []


def test_the_server_is_shown_live(visit: Visit) -> None:
    page = visit.page
    set_parameter(visit, "Most tokens", "100")
    page.goto(f"{page.url.partition('#')[0]}#server")
    expect(page.locator("#server-state")).to_have_text("Ready")
    page.goto(f"{page.url.partition('#')[0]}#")
    visit.ask("goes on")
    page.get_by_role("link", name="Server").click()

    first = page.get_by_role("region", name="Time to first token")
    expect(first.locator("b").first).to_contain_text("ms")
    pace = page.get_by_role("region", name="Time per output token")
    expect(pace.locator("b").first).to_contain_text("ms")
    expect(page.get_by_role("region", name="In flight").locator("b").first).to_have_text("0")
    assert first.locator(".line").count() == 3


def test_the_api_reference_needs_no_other_host(browser: Browser, scripted: Stack) -> None:
    context = browser.new_context()
    visit = Visit(context)

    visit.page.goto(f"{scripted.url}/docs")
    visit.page.get_by_text("Create Chat Completion").click()

    expect(visit.page.get_by_text("Try it out")).to_be_visible()
    assert visit.problems == []
    context.close()


def set_parameter(visit: Visit, label: str, value: str) -> None:
    """Open the parameters, set one, and close them."""
    visit.page.get_by_role("button", name="Parameters", exact=True).click()
    visit.page.get_by_label(label).fill(value)
    visit.page.get_by_role("button", name="Close the parameters").click()
