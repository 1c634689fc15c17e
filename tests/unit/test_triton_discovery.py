"""Where replicas are: lists, files that change, names that resolve."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from gateway.settings import SettingsError, load_models_file
from gateway.triton import discovery
from gateway.triton.discovery import (
    MAX_FILE_BYTES,
    Filed,
    Listed,
    Polled,
    Resolved,
    read_addresses,
)


class Played(Polled):
    """Finds one thing after the other."""

    every_s = 0.0

    def __init__(self, *finds: Sequence[str] | Exception) -> None:
        self._finds = list(finds)

    def __str__(self) -> str:
        return "played"

    async def look(self) -> Sequence[str]:
        if not self._finds:
            await asyncio.Event().wait()
        found = self._finds.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


async def told(found: AsyncIterator[Sequence[str]], number: int) -> list[list[str]]:
    return [list(await asyncio.wait_for(anext(found), 10)) for _ in range(number)]


async def test_only_changes_are_told_and_what_fails_changes_nothing() -> None:
    gone = OSError("no such name")
    played = Played(["b:1", "a:1"], ["a:1", "b:1"], gone, ["a:1"], [], ["a:1"])

    async with aclosing(played.addresses()) as found:
        assert await told(found, 4) == [["a:1", "b:1"], ["a:1"], [], ["a:1"]]


async def test_a_first_look_that_fails_finds_nothing_and_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with aclosing(Played(OSError("no such name"), ["a:1"]).addresses()) as found:
        assert await told(found, 2) == [[], ["a:1"]]


async def test_a_list_is_told_once_each_address_once() -> None:
    async with aclosing(Listed(["a:1", "b:1", "a:1"]).addresses()) as found:
        assert await told(found, 1) == [["a:1", "b:1"]]


async def test_a_name_has_all_its_addresses() -> None:
    assert "127.0.0.1:8001" in await Resolved("localhost:8001").look()


async def test_a_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery.Filed, "every_s", 0.01)
    file = tmp_path / "replicas"
    file.write_text("a:1\n")

    async with aclosing(Filed(file).addresses()) as found:
        first = await told(found, 1)
        file.write_text("# by hand\na:1  # old\n\n[::1]:2\n")

        assert first + await told(found, 1) == [["a:1"], ["[::1]:2", "a:1"]]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a:1\nnot an address\n", "line 2: 'not an address' is not HOST:PORT"),
        (b"a:1\n" * MAX_FILE_BYTES, "longer than"),
        (b"\xff\xfe:1", "decode"),
    ],
    ids=["no address", "too long", "no text"],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "replicas"
    file.write_bytes(content)

    with pytest.raises(ValueError, match=problem):
        read_addresses(file)


@pytest.mark.parametrize(
    ("triton", "problem"),
    [
        ("{address: 'a:1', addresses: ['b:1']}", "one of address and addresses"),
        ("{dns: 'a:1', addresses_file: f}", "one of dns and addresses_file"),
        ("{addresses: []}", "addresses names none"),
        ("{addresses: ['a:1', 'a:1']}", "names one twice"),
        ("{addresses: ['a']}", "HOST:PORT"),
        ("{policy: fastest}", "least_work"),
    ],
    ids=["two places", "name and file", "none", "twice", "no address", "no policy"],
)
def test_a_models_file_that_names_replicas_wrongly_says_where(
    tmp_path: Path, triton: str, problem: str
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text(f"models: [{{id: a, tokenizer: t, triton: {triton}}}]")

    with pytest.raises(SettingsError, match=rf"models\.0\.triton.*{problem}"):
        load_models_file(file)


def test_a_file_of_addresses_is_named_from_the_models_file(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models: [{id: a, tokenizer: t, triton: {addresses_file: replicas}}]")

    assert load_models_file(file).models[0].triton.addresses_file == tmp_path / "replicas"
