"""A message is looked at before it is parsed: what it holds too much of is named."""

from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest
from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.client import CallFailed
from gateway.errors import InvalidRequest
from gateway.rpc.wire import check_message
from gateway.traffic.size import MAX_FIELDS, MAX_VALUES
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.conversation_pb2 import Function
from gateway.v1.tokenize_pb2 import DetokenizeRequest
from tests.fakes import FakeEngine
from tests.floods import METHODS, Path, delimited, paths, varint, wrapped
from tests.rpc import client

LISTS = [
    pytest.param(request, path, id=f"{request.DESCRIPTOR.name}.{'.'.join(f.name for f in path)}")
    for request in METHODS.values()
    for path in paths(cast(Descriptor, request.DESCRIPTOR))
    if path[-1].is_repeated
]


@pytest.mark.parametrize(("request_type", "path"), LISTS)
def test_every_list_of_every_request_is_counted(request_type: type[Message], path: Path) -> None:
    *above, field = path
    if field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING):
        raw = wrapped(tuple(above), delimited(field, b"") * (MAX_FIELDS + 1))
    else:
        raw = wrapped(tuple(above), delimited(field, b"\1" * (MAX_VALUES + 1)))

    with pytest.raises(InvalidRequest, match="The message has more than") as refused:
        check_message(raw, request_type)

    assert refused.value.param == ".".join(one.name for one in path)


def test_a_list_of_numbers_one_by_one_is_counted() -> None:
    [ids] = [field for field in DetokenizeRequest.DESCRIPTOR.fields if field.name == "token_ids"]

    with pytest.raises(InvalidRequest, match="more than 65,536 fields"):
        check_message((varint(ids.number << 3) + b"\1") * (MAX_FIELDS + 1), DetokenizeRequest)


def test_what_nobody_knows_is_counted() -> None:
    with pytest.raises(InvalidRequest, match="more than 65,536 fields"):
        check_message(b"\xfa\x07\0" * (MAX_FIELDS + 1), DetokenizeRequest)


def test_a_message_within_the_bounds_passes() -> None:
    kwargs = struct_pb2.Struct()
    kwargs.update({"deep": [{"values": [1.5, None, "text", {"more": [True]}]}] * 100})
    request = ChatCompletionRequest(model="m")
    request.sampling.logit_bias.update({n: 1.0 for n in range(1024)})
    request.conversation.chat_template_kwargs.CopyFrom(kwargs)
    for _ in range(5000):
        request.conversation.messages.add(role=3).content.add(text="Hi")

    check_message(request.SerializeToString(), ChatCompletionRequest)
    check_message(
        DetokenizeRequest(token_ids=[128_000] * MAX_VALUES).SerializeToString(),
        DetokenizeRequest,
    )


@pytest.mark.parametrize(
    "raw", [b"\xff" * 9000, b"\x0a" * 9000, b"\x12\xff\xff\x7f" + b"\0" * 9000, b"\x0b" * 9000]
)
def test_what_is_no_message_is_left_to_the_parser(raw: bytes) -> None:
    check_message(raw, DetokenizeRequest)


def wide_function() -> Function:
    return Function(name="f", parameters="[" + "[]," * 40_000 + "[]]")


Spoil = Callable[[ChatCompletionRequest], Any]


def too_many_messages(request: ChatCompletionRequest) -> None:
    for _ in range(MAX_FIELDS):
        request.conversation.messages.add()


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (lambda r: r.limits.stop.append("a" * 513), "limits.stop[0]"),
        (lambda r: r.limits.bad_words.append("a" * 257), "limits.bad_words[0]"),
        (
            lambda r: r.conversation.messages.add(role=3, name="a" * 4097),
            "conversation.messages[0].name",
        ),
        (
            lambda r: r.conversation.tools.add().function.MergeFrom(wide_function()),
            "conversation.tools",
        ),
        (lambda r: setattr(r.response_format, "regex", "a" * 4097), "response_format.regex"),
        (too_many_messages, "conversation.messages"),
    ],
    ids=["stop", "bad words", "name", "parameters", "regex", "messages"],
)
async def test_a_call_with_too_much_is_an_invalid_argument_that_names_the_field(
    grpc_server: None, spoil: Spoil, field: str
) -> None:
    request = ChatCompletionRequest(model="tiny")
    spoil(request)

    async with client(FakeEngine()) as rpc:
        with pytest.raises(CallFailed) as failed:
            await rpc.chat(request, timeout_s=60)

    assert failed.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in failed.value.fields
