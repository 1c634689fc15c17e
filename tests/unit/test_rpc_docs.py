"""What docs/grpc.md and the examples say holds."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.models import Models
from gateway.settings import Settings
from gateway.v1 import chat_pb2, completion_pb2, model_pb2, tokenize_pb2
from tests.fakes import FakeEngine, stop, text, tiny_model
from tests.rpc import server
from tests.unit.test_rpc_errors import ROWS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/grpc.md").read_text()
FILES = (chat_pb2, completion_pb2, model_pb2, tokenize_pb2)


def test_the_page_lists_every_method() -> None:
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)

    assert listed == [
        (service.name, method.name)
        for file in FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


@pytest.mark.parametrize(
    ("message", "service"),
    [
        (chat_pb2.ChatCompletionEvent, "ChatService"),
        (completion_pb2.CompletionEvent, "CompletionService"),
    ],
    ids=["chat", "completion"],
)
def test_the_page_lists_every_event(
    message: type[chat_pb2.ChatCompletionEvent], service: str
) -> None:
    [row] = re.findall(rf"^\| `{service}` \| `Stream.*events: (.*) \|$", PAGE, re.MULTILINE)

    events = message.DESCRIPTOR.oneofs_by_name["event"].fields
    assert re.findall(r"`(\w+)`", row) == [field.name for field in events]


def test_the_page_has_reasons_with_their_codes() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE)
    told = {(code, reason) for code, cell in rows for reason in re.findall(r"`(\w+)`", cell)}

    assert len(rows) == 7
    assert told <= {(code.name, reason) for _, code, reason, _ in ROWS}


def test_the_page_names_settings_that_exist() -> None:
    named = set(re.findall(r"GATEWAY_(\w+)", PAGE))

    assert named <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", ["chat.py", "chat_aio.py"])
async def test_the_python_examples_run(name: str) -> None:
    models = Models([tiny_model(FakeEngine([text("Hel"), text("lo!"), stop()]))])
    async with server(models) as running:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *(f"examples/python/{name}", running.address, "tiny", "Hi"),
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await process.communicate()

    assert (process.returncode, output.decode().splitlines()[0]) == (0, "Hello!")
