"""Metadata and statuses on their way through headers."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http2.server.metadata import begin_block, end_block, metadata_of
from gateway.http2.status import Code, Status, StatusError, status_of_trailers
from tests.http2 import CALL_HEADERS, read_block


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.integers(1, 16))
def test_a_status_arrives_as_it_was_meant(details: str, code: int) -> None:
    told = read_block(end_block(Status(code, details), (), has_begun=True))

    assert all(text.isascii() and text.isprintable() for _, text in told)
    assert status_of_trailers(dict(told)) == Status(code, details)


@given(st.binary(max_size=40))
def test_bytes_go_out_and_come_back(value: bytes) -> None:
    told = read_block(begin_block([("x-bin", value), ("x-text", "a, b")]))

    assert list(metadata_of(told))[-2:] == [("x-bin", value), ("x-text", "a, b")]


def test_what_belongs_to_the_protocol_is_no_metadata() -> None:
    headers = [*CALL_HEADERS, ("grpc-timeout", "1S"), ("user-agent", "me")]

    assert metadata_of(headers) == [("user-agent", "me")]


def test_values_that_a_proxy_joined_are_parted() -> None:
    joined = base64.b64encode(b"one").decode() + "," + base64.b64encode(b"four").decode()

    assert metadata_of([("x-bin", joined)]) == [("x-bin", b"one"), ("x-bin", b"four")]


def test_what_is_not_base64_ends_the_call() -> None:
    with pytest.raises(StatusError) as caught:
        metadata_of([("x-bin", "no!")])

    assert caught.value.code == Code.INTERNAL
