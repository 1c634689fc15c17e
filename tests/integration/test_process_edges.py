"""A gateway process: how it stops, what it writes when nobody reads, how many files it opens."""

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import httpx
import pytest

from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.chat_pb2_grpc import ChatServiceStub
from gateway.v1.conversation_pb2 import ContentPart, Conversation, Message
from tests.serving import GatewayProcess, gateway_process, port_of

PATH = "/v1/chat/completions"
HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
HANG = {"model": "tiny", "messages": [{"role": "user", "content": "hang"}]}
PATIENCE_S = 30


class Stream:
    """A streamed answer that hangs after its first token; `lines` are all once it has ended."""

    def __init__(self, url: str) -> None:
        self.lines: list[str] = []
        self.has_begun = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(url,), daemon=True)
        self._thread.start()
        assert self.has_begun.wait(PATIENCE_S)

    def _read(self, url: str) -> None:
        with httpx.stream("POST", url + PATH, json=HANG | {"stream": True}, timeout=60) as answer:
            for line in answer.iter_lines():
                self.lines.append(line)
                self.has_begun.set()

    def last(self) -> str:
        """Return the last line that is not empty, once the stream has ended."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return [line for line in self.lines if line][-1]


class Whole:
    """A whole answer that never comes; `response` is what came instead."""

    def __init__(self, url: str) -> None:
        self.response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._ask, args=(url,), daemon=True)
        self._thread.start()

    def _ask(self, url: str) -> None:
        self.response = httpx.post(url + PATH, json=HANG, timeout=60)

    def joined(self) -> httpx.Response:
        self._thread.join(PATIENCE_S)
        assert self.response
        return self.response


def rpc_events(address: str) -> Iterator[object]:
    channel = grpc.insecure_channel(address)
    parts = [ContentPart(text="hang")]
    conversation = Conversation(messages=[Message(role="ROLE_USER", content=parts)])
    request = ChatCompletionRequest(model="tiny", conversation=conversation)
    return iter(ChatServiceStub(channel).StreamChatCompletion(request))


def code_of(line: str) -> str:
    return str(json.loads(line.removeprefix("data: "))["error"]["code"])


def stopped(gateway: GatewayProcess, *signals: int) -> str:
    """Send signals, the next once the drain has been told of; return the log of the end."""
    assert gateway.process.stderr
    said = b""
    for number in signals:
        gateway.process.send_signal(number)
        while b"draining" not in said:
            line = gateway.process.stderr.readline()
            assert line, said
            said += line
    return (said + gateway.process.stderr.read()).decode()


@pytest.mark.parametrize("server", ["http2", "grpc"])
def test_a_drain_that_runs_out_ends_every_answer_with_a_stated_error(server: str) -> None:
    with gateway_process(GATEWAY_DRAIN_S="1", GATEWAY_GRPC_SERVER=server) as gateway:
        stream, whole = Stream(gateway.url), Whole(gateway.url)
        events = rpc_events(gateway.grpc_address)
        next(events)
        gateway.wait_hanging(3)

        said = stopped(gateway, signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as failed:
            for _ in events:
                pass
        answer = whole.joined()

        assert code_of(stream.last()) == "engine_unavailable"
        assert "stopping" in stream.last()
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "engine_unavailable"
        assert answer.headers["x-should-retry"] == "true"
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "stopping" in failed.value.details()
    assert "waiting_for='3 answers'" in said
    assert re.search(r"draining .*left_s=1", said)
    assert "Ctrl-C" in said
    assert "ended='3 answers'" in said
    assert "Traceback" not in said


def test_a_second_ctrl_c_ends_answers_at_once_and_tells_them() -> None:
    with gateway_process(GATEWAY_DRAIN_S="600") as gateway:
        stream = Stream(gateway.url)
        gateway.wait_hanging(1)

        said = stopped(gateway, signal.SIGINT, signal.SIGINT)
        gateway.process.wait(PATIENCE_S)

        assert code_of(stream.last()) == "engine_unavailable"
    assert "drain_over" in said


def test_a_drain_waits_for_what_is_answered_and_not_longer() -> None:
    with gateway_process(GATEWAY_DRAIN_S="600") as gateway:
        assert httpx.post(gateway.url + PATH, json=HELLO).status_code == 200

        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(PATIENCE_S)

        assert "draining" not in gateway.said()


def test_a_log_that_nobody_reads_stops_nothing_and_is_told_of_later() -> None:
    with gateway_process() as gateway, httpx.Client(base_url=gateway.url) as http:
        path = "/v1/models/" + "a" * 900
        statuses = {http.get(path).status_code for _ in range(2500)}
        assert gateway.process.stderr

        lines: list[str] = []
        while not any("log_lines_lost" in line for line in lines):
            lines.append(gateway.process.stderr.readline().decode())

    lost = int(re.findall(r"lines=(\d+)", lines[-1])[0])
    requests = [line for line in lines if "request " in line]
    assert statuses == {404}
    assert lost > 0
    assert len(requests) + lost == 2500


def test_nothing_is_lost_at_the_end_of_a_log_that_is_read_late() -> None:
    with gateway_process() as gateway:
        with httpx.Client(base_url=gateway.url) as http:
            for _ in range(800):
                http.get("/v1/models/" + "a" * 100)
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)

        said = gateway.said()

    assert said.count("status=404") == 800


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_what_callers_write_cannot_command_a_terminal(log_format: str) -> None:
    written = "a%1b[31mRED%1b]0;title%07%9b%0d%0ab%e2%80%ae"

    with gateway_process(GATEWAY_LOG_FORMAT=log_format) as gateway:
        httpx.get(f"{gateway.url}/v1/models/{written}")
        httpx.get(f"{gateway.url}/{written}")
        gateway.process.send_signal(signal.SIGTERM)
        said = gateway.said()

    assert said.count("RED") == 2
    assert all(char.isprintable() for char in said.replace("\n", ""))
    assert len(said.splitlines()) == said.count("\n")


def test_a_long_path_makes_a_short_line() -> None:
    with gateway_process() as gateway:
        httpx.get(f"{gateway.url}/v1/models/{'a' * 8000}")
        gateway.process.send_signal(signal.SIGTERM)
        said = gateway.said()

    assert 1000 < len(said) < 1500


def test_a_process_that_can_open_no_more_files_says_so() -> None:
    limited = ("sh", "-c", 'ulimit -n 200; exec "$@"', "sh")

    with gateway_process(*limited) as gateway, ExitStack() as held:
        port = port_of(gateway.grpc_address)
        for _ in range(400):
            held.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert gateway.process.stderr
        line = ""
        while "no_more_open_files" not in line:
            line = gateway.process.stderr.readline().decode()
            assert line

    assert "ulimit -n" in line


def test_few_files_mean_few_connections_and_a_word_about_it() -> None:
    limited = ("sh", "-c", 'ulimit -n 130; exec "$@"', "sh")

    with gateway_process(*limited) as gateway, ExitStack() as held:
        for _ in range(300):
            held.enter_context(socket.create_connection(("127.0.0.1", port_of(gateway.url))))
        assert gateway.process.stderr
        line = gateway.process.stderr.readline().decode()
        held.close()
        deadline = time.monotonic() + PATIENCE_S
        while (status := httpx.get(f"{gateway.url}/health/live").status_code) == 503:
            assert time.monotonic() < deadline

    assert re.search(r"connections_refused .*limit=34", line)
    assert status == 200


def test_a_log_that_nobody_can_read_any_more_stops_nothing() -> None:
    reader, writer = os.pipe()
    with open(writer, "wb") as stderr, gateway_process(stderr=stderr) as gateway:
        os.close(reader)

        statuses = {httpx.get(f"{gateway.url}/health/live").status_code for _ in range(3)}

    assert statuses == {200}
