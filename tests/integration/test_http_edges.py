"""HTTP's own edges, as bytes on sockets: what a client may send, how long it may take, how many."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
import structlog

from gateway.generation import Generation, Item
from gateway.settings import Settings
from gateway.telemetry.metrics import REGISTRY
from tests.fakes import FakeEngine, stop, text
from tests.serving import Answer, port_of, post, said_to, serving

PATH = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
OFFER = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")


def engine() -> FakeEngine:
    return FakeEngine([text("Hi"), stop()])


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.error["code"] == code
    assert answer.all("connection") == ["close"]
    assert len(answer.all("x-request-id")) == 1
    assert answer.all("x-should-retry")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        pytest.param(
            LIVE + b"A: " + b"a" * 70_000 + b"\r\n\r\n", 431, "headers_too_large", id="one-large"
        ),
        pytest.param(LIVE + b"A: " + b"a" * 70_000, 431, "headers_too_large", id="one-without-end"),
        pytest.param(LIVE + b"A: a\r\n" * 100_000, 431, "headers_too_large", id="many"),
        pytest.param(
            b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            414,
            "target_too_long",
            id="target",
        ),
        pytest.param(b"GET /" + b"a" * 70_000, 414, "target_too_long", id="target-without-end"),
        pytest.param(
            b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, "unsupported_http_version", id="http-2.0"
        ),
        pytest.param(b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 400, "invalid_http", id="http-0.9"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "invalid_http", id="no-host"),
        pytest.param(
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "invalid_http", id="two-hosts"
        ),
        pytest.param(
            b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "invalid_http", id="two-in-1.0"
        ),
        pytest.param(
            b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_http", id="connect"
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "invalid_http", id="tls"),
    ],
)
async def test_what_is_no_request_here_is_refused_in_openais_form(
    sent: bytes, status: int, code: str
) -> None:
    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, sent)

    assert_refused(answer, status, code)


async def test_a_header_without_end_is_cut_at_the_limit() -> None:
    sent = 0
    async with serving(engine(), Settings()) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(LIVE + b"A: ")
        with pytest.raises(ConnectionError):
            while sent < 400 * 2**20:
                writer.write(b"a" * 65536)
                await writer.drain()
                sent += 65536
        writer.close()

    assert sent < 32 * 2**20


async def test_trailers_are_bounded_as_headers_are() -> None:
    chunked = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: "
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\n" % PATH.encode()

    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, head + chunked, b"a" * 300_000, b"a" * 70_000)

    assert_refused(answer, 431, "headers_too_large")


@pytest.mark.parametrize("limits", [{"max_header_bytes": 1024}, {"max_headers": 8}], ids=str)
async def test_headers_are_bounded_by_settings(limits: dict[str, int]) -> None:
    headers = b"".join(b"A-%d: %s\r\n" % (i, b"a" * 120) for i in range(8))

    async with serving(engine(), Settings()) as url:
        usual = await said_to(url, LIVE + headers + CLOSE)
    async with serving(engine(), Settings(**limits)) as url:  # type: ignore[arg-type]
        refused = await said_to(url, LIVE + headers + CLOSE)

    assert usual.status == 200
    assert_refused(refused, 431, "headers_too_large")


async def test_a_large_body_does_not_count_as_headers() -> None:
    body = HELLO | {"user": "a" * 200_000}

    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, post(PATH, body))

    assert answer.status == 200


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([b"GET /health"], id="in-the-line"),
        pytest.param([LIVE, b"A: b"], id="in-the-headers"),
        pytest.param([LIVE + b"\r\n", b"GET /"], id="in-the-second-request"),
    ],
)
async def test_headers_that_are_slow_to_come_are_a_408(parts: list[bytes]) -> None:
    async with serving(engine(), Settings(header_timeout_s=0.2)) as url:
        answer = await said_to(url, *parts)

    last = Answer(answer.raw[answer.raw.rindex(b"HTTP/1.1 ") :])
    assert_refused(last, 408, "request_timeout")


async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    async with serving(engine(), Settings(header_timeout_s=0.1)) as url:
        answer = await said_to(url)

    assert answer.raw == b""


async def test_a_connection_that_is_idle_after_an_answer_is_closed() -> None:
    async with serving(engine(), Settings(idle_timeout_s=1)) as url:
        answer = await said_to(url, LIVE + b"\r\n")

    assert answer.status == 200


async def test_empty_lines_do_not_keep_a_connection() -> None:
    async with serving(engine(), Settings(header_timeout_s=0.3)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))

        async def knock() -> None:
            while True:
                writer.write(b"\r\n")
                await asyncio.sleep(0.02)

        knocking = asyncio.ensure_future(knock())
        answer = Answer(await asyncio.wait_for(reader.read(), 10))
        knocking.cancel()
        writer.close()

    assert answer.raw == b"" or answer.status == 408


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_offer_to_speak_http2_is_ignored(stream: bool) -> None:
    asked = engine()

    async with serving(asked, Settings()) as url:
        answer = await said_to(
            url,
            post(PATH, HELLO | {"stream": stream}, *OFFER, close=False),
            post(PATH, HELLO),
        )

    assert answer.raw.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert len(asked.requests) == 2
    assert asked.requests[0].prompt.token_ids == asked.requests[1].prompt.token_ids


async def test_an_offer_may_come_with_a_body_in_chunks_and_in_pieces() -> None:
    body = json.dumps(HELLO).encode()
    head = post(PATH, HELLO, *OFFER).partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, head[:60], head[60:] + b"\r\n\r\n" + chunks[:9], chunks[9:])

    assert answer.status == 200


async def test_a_websocket_is_not_opened() -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

    async with serving(engine(), Settings(idle_timeout_s=1)) as url:
        answer = await said_to(url, LIVE + upgrade)

    assert answer.status == 200


async def run(*command: str, cwd: Path | None = None) -> str:
    """Return what a command printed, standard error as well."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    return output.decode()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not here")
async def test_curl_offers_http2_and_is_answered() -> None:
    async with serving(engine(), Settings()) as url:
        output = await run(
            *("curl", "-sS", "--http2", "-w", "%{http_code} %{http_version}", url + PATH),
            *("-H", "Content-Type: application/json", "-d", json.dumps(HELLO)),
        )

    assert output.endswith("200 1.1")
    assert '"content":"Hi"' in output


JAVA = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] given) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(given[0]))
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(given[1])).build();
            HttpResponse<String> answer =
                client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(client.version() + " " + answer.statusCode() + " " + answer.body());
        }
    }
}
"""


@pytest.mark.skipif(not shutil.which("java"), reason="no Java is here")
async def test_the_jdks_client_offers_http2_and_is_answered(tmp_path: Path) -> None:
    (tmp_path / "Ask.java").write_text(JAVA)

    async with serving(engine(), Settings()) as url:
        output = await run("java", "Ask.java", url + PATH, json.dumps(HELLO), cwd=tmp_path)

    lines = output.splitlines()
    assert [line.partition(" {")[0] for line in lines] == ["HTTP_2 200"] * 2, output
    assert all('"content":"Hi"' in line for line in lines)


@pytest.mark.parametrize("keep", [[], ["Connection: keep-alive"]], ids=["plain", "keep-alive"])
async def test_a_stream_to_http_1_0_ends_with_its_connection(keep: list[str]) -> None:
    request = post(PATH, HELLO | {"stream": True}, *keep, version="1.0", close=False)

    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, request)

    assert answer.all("transfer-encoding") == []
    assert answer.all("connection") == ["close"]
    assert answer.body.startswith(b'data: {"id":')
    assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_a_whole_answer_to_http_1_0_has_its_length() -> None:
    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, post(PATH, HELLO, version="1.0", close=False))

    assert answer.all("content-length") == [str(len(answer.body))]
    assert answer.all("connection") == ["close"]


async def test_a_stream_to_http_1_1_is_in_chunks_with_at_most_one_connection_header() -> None:
    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, post(PATH, HELLO | {"stream": True}))

    assert answer.all("transfer-encoding") == ["chunked"]
    assert answer.all("connection") == ["close"]


async def test_what_follows_an_answer_and_is_no_request_does_not_take_it_away() -> None:
    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, post(PATH, HELLO, close=False) + b"\x00\x01\x02\r\n")

    assert answer.status == 200
    assert b'"content":"Hi"' in answer.body


async def test_connections_beyond_the_limit_are_told_to_come_back() -> None:
    with structlog.testing.capture_logs() as logs:
        async with serving(engine(), Settings(max_connections=2)) as url:
            held = [await asyncio.open_connection("127.0.0.1", port_of(url)) for _ in range(2)]
            await asyncio.sleep(0.1)
            refused = await said_to(url, LIVE + b"\r\n")
            held[0][1].close()
            await asyncio.sleep(0.1)
            answered = await said_to(url, LIVE + CLOSE)
            held[1][1].close()

    assert_refused(refused, 503, "too_many_connections")
    assert refused.all("retry-after") == ["1"]
    assert answered.status == 200
    assert [line["limit"] for line in logs if line["event"] == "connections_refused"] == [2]


class EndlessEngine(FakeEngine):
    """Says much, for ever."""

    async def generate(self, generation: Generation) -> AsyncGenerator[Item, None]:
        try:
            while True:
                yield text("a" * 60_000)
                await asyncio.sleep(0)
        finally:
            self.closed += 1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        pytest.param(Settings(send_timeout_s=0.3), "unread", id="unread"),
        pytest.param(Settings(request_timeout_s=0.5), "deadline", id="request"),
    ],
)
async def test_a_stream_whose_reader_stands_still_ends_at_its_timeout_and_is_counted(
    settings: Settings, reason: str
) -> None:
    endless = EndlessEngine()
    before = num_cut_off(reason)

    async with serving(endless, settings) as url:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(post(PATH, HELLO | {"stream": True}))
        for _ in range(1000):
            await asyncio.sleep(0.02)
            if endless.closed:
                break
        writer.transport.abort()

    assert endless.closed == 1
    assert num_cut_off(reason) - before == 1


def num_cut_off(reason: str) -> float:
    """Return how many readers were cut off so far."""
    counted = {"reason": reason}
    return REGISTRY.get_sample_value("gateway_readers_cut_off_total", counted) or 0.0


async def test_a_reader_that_is_slow_but_reads_is_left_alone() -> None:
    endless = EndlessEngine()
    chunks = 0

    async with (
        serving(endless, Settings(send_timeout_s=0.5)) as url,
        httpx.AsyncClient() as http,
        http.stream("POST", url + PATH, json=HELLO | {"stream": True}) as response,
    ):
        async for _ in response.aiter_raw(2**20):
            await asyncio.sleep(0.1)
            chunks += 1
            if chunks == 15:
                break

    assert chunks == 15


@pytest.mark.parametrize("path", ["/v1/models/", "/v1//models", "//v1/models//", "/health/live/"])
async def test_slashes_too_many_are_no_other_path(path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n".encode()

    async with serving(engine(), Settings()) as url:
        answer = await said_to(url, head + CLOSE)

    assert answer.status == 200


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/ping", "/version"])
async def test_head_is_answered_as_get_without_the_body(path: str) -> None:
    async with serving(engine(), Settings()) as url:
        get, head = [
            await said_to(url, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + CLOSE)
            for method in ("GET", "HEAD")
        ]

    assert (get.status, head.status) == (200, 200)
    assert head.body == b""
    assert head.all("content-length") == get.all("content-length") == [str(len(get.body))]
