"""The pages are whole without any other host, fenced in, and what they bundle is what npm has."""

import gzip
import hashlib
import json
import re
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder

from gateway.settings import Settings
from gateway.web.pages import FILES, STATIC
from tests.fakes import FakeEngine
from tests.serving import serving

ROOT = Path(__file__).parents[2]
VENDOR = STATIC / "vendor"
OWN = sorted(
    path.relative_to(STATIC).as_posix()
    for path in STATIC.rglob("*")
    if path.is_file() and VENDOR not in path.parents
)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(FakeEngine(), Settings()) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        yield client


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_a_page_lets_in_nothing_from_elsewhere(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"


@pytest.mark.parametrize("path", ["/", "/docs", "/web/js/main.js", "/web/favicon.svg", "/web/none"])
async def test_nothing_here_is_framed_guessed_at_or_told_to_other_sites(
    client: httpx.AsyncClient, path: str
) -> None:
    response = await client.get(path)

    assert response.headers["x-content-type-options"] == "nosniff"
    if response.is_success:
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["referrer-policy"] == "no-referrer"


async def test_markup_reaches_the_chat_page_through_the_sanitizer_alone(
    client: httpx.AsyncClient,
) -> None:
    policy = (await client.get("/")).headers["content-security-policy"]

    assert "style-src 'self';" in policy
    assert policy.endswith("require-trusted-types-for 'script'; trusted-types dompurify")


@pytest.mark.parametrize("name", ["index.html", "docs.html"])
async def test_all_that_a_page_asks_for_is_there(client: httpx.AsyncClient, name: str) -> None:
    page = (STATIC / name).read_text()

    asked = re.findall(r'(?:src|href)="(web/[^"]+)"', page)

    assert asked
    for path in asked:
        assert (await client.get(f"/{path}")).status_code == 200


async def test_every_module_that_is_imported_is_there_as_javascript(
    client: httpx.AsyncClient,
) -> None:
    for module in (STATIC / "js").glob("*.js"):
        for imported in re.findall(r'from "(\.[^"]+)"', module.read_text()):
            path = (module.parent / imported).resolve().relative_to(STATIC)
            response = await client.get(f"/web/{path.as_posix()}")
            assert response.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_what_a_browser_has_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/web/js/main.js")

    again = await client.get("/web/js/main.js", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == "no-cache"
    assert again.status_code == 304
    assert again.content == b""


async def test_a_file_is_compressed_for_those_who_read_it_so(client: httpx.AsyncClient) -> None:
    path = "/web/vendor/swagger-ui-bundle.js"

    async with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as packed:
        sent = b"".join([part async for part in packed.aiter_raw()])
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(sent) == plain.content
    assert len(sent) < len(plain.content) / 3


@pytest.mark.parametrize(
    "path",
    [
        "/web/none.js",
        "/web/../pages.py",
        "/web/%2e%2e/pages.py",
        "/web/js",
        "/web/",
        "/web/index.html",
    ],
)
async def test_no_other_file_is_reached(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)

    assert response.status_code == 404
    assert response.json()["error"]["message"].startswith("There is nothing at GET /")


async def test_head_is_answered(client: httpx.AsyncClient) -> None:
    response = await client.head("/")

    assert response.status_code == 200
    assert response.content == b""


@pytest.mark.parametrize("name", OWN)
def test_nothing_is_inline_and_nothing_is_named_elsewhere(name: str) -> None:
    text = (STATIC / name).read_text()

    addresses = set(re.findall(r"https?://[^\s\"'`)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    if name.endswith(".html"):
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]+src=)", text)
    if name.endswith(".js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_what_is_bundled_is_what_the_lock_says_and_has_its_licence() -> None:
    locked = json.loads((ROOT / "requirements/web.lock").read_text())
    listed = json.loads((ROOT / "requirements/web.json").read_text())

    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDOR.iterdir()}

    assert found == {name: digest for name, digest in locked.items() if name in found}
    assert {entry["package"] for entry in listed} == locked.keys() - found.keys()
    for entry in listed:
        assert entry["licence"]
        assert any("LICENSE" in target for target in entry["files"].values())


def test_the_wheel_has_all_that_serves_and_says_what_may_be_done_with_it(tmp_path: Path) -> None:
    [wheel] = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])

    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [name for name in names if name.endswith("dist-info/METADATA")]
        told = archive.read(metadata).decode()

    assert {f"gateway/web/static/{name}" for name in FILES} <= names
    assert {"gateway/py.typed", "build_engine/py.typed"} <= names
    assert "build_engine/model_repository/tensorrt_llm/config.pbtxt" in names
    assert any(name.startswith("build_engine/chat_templates/") for name in names)
    assert any(name.startswith("build_engine/specs/") for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0" in told
    assert not any("__pycache__" in name or name.startswith("tests/") for name in names)
