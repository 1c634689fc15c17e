"""Who asks, and in what form: origins, hosts, media types, codings."""

import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from gateway.app import create_app
from gateway.http.coding import FREE_BYTES
from gateway.models import Models
from gateway.settings import Settings, SettingsError, load_settings
from tests.fakes import FakeEngine, stop, text, tiny_model
from tests.wire import CheckedTransport

PATH = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
RAW = json.dumps(HELLO).encode()
JSON = {"content-type": "application/json"}
PAGE = "http://localhost:8080"


def browser(engine: FakeEngine, settings: Settings, url: str = PAGE) -> httpx.AsyncClient:
    """Return a client without headers of its own choice."""
    app = create_app(settings, Models([tiny_model(engine)]))
    return httpx.AsyncClient(transport=CheckedTransport(app), base_url=url)


async def posted(
    headers: dict[str, str],
    content: bytes = RAW,
    settings: Settings | None = None,
    url: str = PAGE,
    path: str = PATH,
) -> tuple[httpx.Response, FakeEngine]:
    """Return the answer to a POST, and the engine that was asked, or was not."""
    engine = FakeEngine([text("Hi"), stop()])
    async with browser(engine, settings or Settings(), url) as http:
        return await http.post(path, content=content, headers=headers), engine


def code(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost:3000", "http://127.0.0.1:8080", "null", "", "x"],
)
@pytest.mark.parametrize("path", [PATH, "/v1/completions", "/v1/tokenize"])
async def test_a_page_of_another_site_makes_nothing_happen(origin: str, path: str) -> None:
    response, engine = await posted(JSON | {"origin": origin}, path=path)

    assert (response.status_code, code(response)) == (403, "foreign_origin")
    assert "access-control-allow-origin" not in response.headers
    assert engine.requests == []


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        pytest.param(PAGE, {"origin": PAGE}, id="own"),
        pytest.param("http://127.0.0.1:80", {"origin": "http://127.0.0.1"}, id="usual-port"),
        pytest.param("http://[::1]:8080", {"origin": "http://[::1]:8080"}, id="ipv6"),
        pytest.param(PAGE, {"origin": "https://LOCALHOST:8080"}, id="tls-before-us"),
        pytest.param(
            PAGE,
            {"origin": "https://chat.example", "x-forwarded-host": "chat.example"},
            id="proxy-that-says-so",
        ),
        pytest.param(
            PAGE,
            {"origin": "https://chat.example", "sec-fetch-site": "same-origin"},
            id="proxy-that-changed-the-host",
        ),
    ],
)
async def test_a_page_of_this_server_is_answered(url: str, headers: dict[str, str]) -> None:
    response, _ = await posted(JSON | headers, url=url)

    assert response.status_code == 200


async def test_a_page_of_another_site_is_not_same_origin_by_saying_cross_site() -> None:
    headers = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}

    response, _ = await posted(JSON | headers)

    assert response.status_code == 403


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ("https://a.example", "https://a.example", "https://a.example"),
        ("https://b.example, https://a.example", "https://a.example", "https://a.example"),
        ("*", "https://a.example", "*"),
        ("app://obsidian.md", "app://obsidian.md", "app://obsidian.md"),
        ("null", "null", "null"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_pages_of_origins_that_are_set_may_ask_and_read(
    origins: str, origin: str, allowed: str, stream: bool
) -> None:
    settings = Settings(cors_origins=origins)
    asked = json.dumps(HELLO | {"stream": stream}).encode()
    preflight = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type, x-stainless-lang",
    }

    async with browser(FakeEngine([text("Hi"), stop()]), settings) as http:
        before = await http.options(PATH, headers=preflight)
        response = await http.post(PATH, content=asked, headers=JSON | {"origin": origin})

    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == allowed
    assert "x-stainless-lang" in before.headers["access-control-allow-headers"]
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == allowed
    assert "x-request-id" in response.headers["access-control-expose-headers"]


async def test_a_refusal_can_be_read_by_a_page_that_may_ask() -> None:
    settings = Settings(cors_origins="https://a.example")

    response, _ = await posted(JSON | {"origin": "https://a.example"}, b"{}", settings)

    assert response.status_code == 400
    assert response.headers["access-control-allow-origin"] == "https://a.example"


@pytest.mark.parametrize("origin", ["https://evil.example", "https://a.example.evil.example"])
async def test_an_origin_that_is_not_set_stays_out(origin: str) -> None:
    settings = Settings(cors_origins="https://a.example")
    preflight = {"origin": origin, "access-control-request-method": "POST"}

    async with browser(FakeEngine(), settings) as http:
        before = await http.options(PATH, headers=preflight)
    response, engine = await posted(JSON | {"origin": origin}, settings=settings)

    assert (before.status_code, response.status_code) == (403, 403)
    assert engine.requests == []


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io"]
)
@pytest.mark.parametrize("path", [PATH, "/v1/models"])
async def test_a_name_that_was_made_to_point_here_is_refused(name: str, path: str) -> None:
    headers = JSON | {"host": name, "origin": f"http://{name}", "sec-fetch-site": "same-origin"}

    response, engine = await posted(headers, path=path)

    assert (response.status_code, code(response)) == (421, "misdirected_request")
    assert "GATEWAY_ALLOWED_HOSTS" in response.json()["error"]["message"]
    assert engine.requests == []


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("localhost:1", {}, id="localhost"),
        pytest.param("LOCALHOST.", {}, id="localhost-with-dot"),
        pytest.param("127.0.0.1:1", {}, id="ipv4"),
        pytest.param("[::1]:1", {}, id="ipv6"),
        pytest.param("192.168.1.7", {}, id="another-address"),
        pytest.param("gateway:8080", {}, id="name-without-dot"),
        pytest.param("host.docker.internal:8080", {}, id="docker-desktop"),
        pytest.param("studio.local", {}, id="mdns"),
        pytest.param("llm.example", {"allowed_hosts": "llm.example"}, id="set"),
        pytest.param("llm.example:443", {"allowed_hosts": "a.example, LLM.example"}, id="one-of"),
        pytest.param("llm.example", {"allowed_hosts": "*"}, id="any"),
        pytest.param("llm.example", {"host": "0.0.0.0"}, id="not-on-loopback"),
    ],
)
async def test_names_that_are_this_servers_are_answered(name: str, settings: Any) -> None:
    response, _ = await posted(JSON | {"host": name}, settings=Settings(**settings))

    assert response.status_code == 200


async def test_names_that_are_set_are_the_only_ones_on_any_address() -> None:
    settings = Settings(host="0.0.0.0", allowed_hosts="llm.example")

    response, _ = await posted(JSON | {"host": "other.example"}, settings=settings)

    assert response.status_code == 421


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("cors_origins", "a.example"),
        ("cors_origins", "https://a.example/path"),
        ("allowed_hosts", "https://a.example"),
        ("allowed_hosts", "a.example:80"),
    ],
)
def test_a_setting_that_names_no_origin_or_host_stops_the_start(name: str, given: str) -> None:
    with pytest.raises(SettingsError, match=f"GATEWAY_{name.upper()}"):
        load_settings(**{name: given})


@pytest.mark.parametrize(
    "media",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; charset=utf8",
        "application/vnd.api+json",
    ],
)
async def test_json_by_any_of_its_names_is_read(media: str) -> None:
    response, _ = await posted({"content-type": media})

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        pytest.param({}, "Content-Type: application/json", id="none"),
        pytest.param({"content-type": ""}, "Content-Type: application/json", id="empty"),
        pytest.param(
            {"content-type": "application/x-www-form-urlencoded"}, "curl -d", id="curl-as-it-is"
        ),
        pytest.param({"content-type": "text/plain"}, "'text/plain'", id="what-pages-may-send"),
        pytest.param({"content-type": "text/plain; application/json"}, "text/plain", id="disguise"),
        pytest.param({"content-type": "multipart/form-data; boundary=a"}, "multipart", id="form"),
        pytest.param({"content-type": "application/jsonp"}, "jsonp", id="longer"),
        pytest.param(
            JSON | {"content-type": "application/json; charset=utf-16"}, "utf-16", id="16"
        ),
        pytest.param(JSON | {"content-encoding": "br"}, "'br'", id="brotli"),
        pytest.param(JSON | {"content-encoding": "zstd"}, "'zstd'", id="zstandard"),
        pytest.param(JSON | {"content-encoding": "gzip, gzip"}, "'gzip, gzip'", id="twice"),
    ],
)
@pytest.mark.parametrize("path", [PATH, "/v1/completions", "/v1/tokenize", "/v1/detokenize"])
async def test_what_is_not_called_json_is_refused_by_name(
    headers: dict[str, str], told: str, path: str
) -> None:
    response, engine = await posted(headers, path=path)

    assert response.status_code == 415
    assert told in response.json()["error"]["message"]
    assert response.headers["accept-encoding"] == "gzip, deflate"
    assert engine.requests == []


def raw_deflate(plain: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(plain) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
        ("gzip, identity", gzip.compress),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order-mark"])
async def test_compressed_bodies_and_byte_order_marks_are_read(
    coding: str, compress: Any, mark: bytes
) -> None:
    headers = JSON | {"content-encoding": coding}

    response, engine = await posted(headers, compress(mark + RAW))
    plain, asked_plainly = await posted(JSON)

    assert response.status_code == plain.status_code == 200
    assert engine.requests[0].prompt == asked_plainly.requests[0].prompt


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(gzip.compress(RAW)[:-9], 400, id="cut"),
        pytest.param(gzip.compress(RAW) + b"\0" * 9, 400, id="more-after-it"),
        pytest.param(gzip.compress(RAW) * 2, 400, id="twice"),
        pytest.param(RAW, 400, id="plain"),
        pytest.param(b"", 400, id="empty"),
        pytest.param(gzip.compress(b" " * (17 * 2**20)), 413, id="beyond-the-limit-of-bodies"),
        pytest.param(gzip.compress(b" " * 8 * FREE_BYTES), 413, id="beyond-the-ratio"),
    ],
)
async def test_a_coding_that_is_broken_or_grows_too_much_is_refused(
    body: bytes, status: int
) -> None:
    response, engine = await posted(JSON | {"content-encoding": "gzip"}, body)

    assert response.status_code == status
    assert engine.requests == []


async def test_a_small_body_may_repeat_itself_as_it_likes() -> None:
    body = json.dumps(HELLO | {"user": "a" * (FREE_BYTES - 1000)}).encode()

    response, _ = await posted(JSON | {"content-encoding": "gzip"}, gzip.compress(body))

    assert response.status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/v1//chat/completions"])
async def test_slashes_too_many_are_no_redirect(path: str) -> None:
    response, _ = await posted(JSON, path=path)

    assert response.status_code == 200
    assert "location" not in response.headers
