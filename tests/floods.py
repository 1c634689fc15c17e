"""Requests that are large in one place, for every place there is: drawn from the descriptions.

The places of JSON are those of the OpenAPI document, those of gRPC the fields of the messages, so
that a new parameter is tried as soon as it exists. Each is made large beyond all bounds, and as
large as may be.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import cycle
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from gateway.traffic.size import MAX_CONTAINERS, MAX_FIELDS, MAX_VALUES
from gateway.v1.chat_pb2 import ChatCompletionRequest
from gateway.v1.completion_pb2 import CompletionRequest
from gateway.v1.tokenize_pb2 import DetokenizeRequest, TokenizeRequest

FLOOD_BYTES = 16 * 2**20 - 4096
DIGITS = 2**16
# What texts are made of: letters, escapes, what opens control tokens, what JSON is made of.
FILLS = ("a", "\\u00e9", "<", " ", "[{,:", "é", "<|", "7", "\\n", "(", "😊")
JSON_TEXTS = ("parameters", "schema", "arguments")
METHODS: dict[str, type[Message]] = {
    "ChatService/CreateChatCompletion": ChatCompletionRequest,
    "CompletionService/CreateCompletion": CompletionRequest,
    "TokenizeService/Tokenize": TokenizeRequest,
    "TokenizeService/Detokenize": DetokenizeRequest,
}

Schema = dict[str, Any]
Path = tuple[FieldDescriptor, ...]


class Flood(NamedTuple):
    """A request that is large in one place; `target` is a path of HTTP or a method of gRPC."""

    name: str
    target: str
    body: bytes


class Place(NamedTuple):
    """A value in a body: its schema, and the JSON before and after it."""

    name: str
    schema: Schema
    before: str
    after: str


def http_floods(document: Schema, models: Sequence[str]) -> Iterator[Flood]:
    """Yield requests of HTTP; what several bodies have in common is made large in one of them."""
    tried: set[str] = set()
    fills, names = cycle(FILLS), cycle(models)
    for path, operations in document["paths"].items():
        content = operations.get("post", {}).get("requestBody", {}).get("content", {})
        for media_type in content.values():
            body = _Body(document["components"]["schemas"], names)
            for place in body.places("", media_type["schema"], "", "", ()):
                for kind, text in values(body, place.schema, fills):
                    name = f"{place.name} {kind}"
                    if name not in tried:
                        tried.add(name)
                        raw = f"{place.before}{text}{place.after}".encode()
                        yield Flood(f"{path} {name}", path, raw)


def values(body: "_Body", schema: Schema, fills: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield what is large and may stand, or not, where a schema is."""
    kind = schema.get("type")
    if kind == "string":
        most = schema.get("maxLength", 99)
        for fill in [next(fills) for _ in range(2 if most > FLOOD_BYTES else 1)]:
            yield f"long, of {fill}", f'"{_filled(fill, FLOOD_BYTES)}"'
        if most < FLOOD_BYTES:
            yield "as long as may be", f'"{_filled(fill, most)}"'
    elif kind == "array":
        item = body.example(schema["items"])
        yield "of lists", _many("[]", FLOOD_BYTES)
        yield "of many", _many(item, FLOOD_BYTES)
        room = min(FLOOD_BYTES, (len(item) + 1) * schema["maxItems"])
        yield "of as many as may be", _many(item, room)
    elif kind == "object":
        yield "of many names", _names()
        yield "deep", '{"a":' * (FLOOD_BYTES // 6) + "0" + "}" * (FLOOD_BYTES // 6)
        held = _many("[]", 3 * (MAX_CONTAINERS - 100))
        yield "of as many lists as may be", f'{{"a":{held}}}'
        yield "of as many values as may be", f'{{"a":{_many("0", 2 * (MAX_VALUES - 9999))}}}'
    elif kind in ("integer", "number"):
        yield "of many digits", "9" * DIGITS


@cache
def _names() -> str:
    names = ",".join([f'"k{n}":0' for n in range(FLOOD_BYTES // 14)])
    return f"{{{names}}}"


def _filled(fill: str, num_bytes: int) -> str:
    return fill * (num_bytes // len(fill.encode()))


def _many(item: str, num_bytes: int) -> str:
    count = num_bytes // (len(item.encode()) + 1)
    return f"[{item}{f',{item}' * (count - 1)}]"


class _Body:
    """A body's schema, in which other schemas are found by name."""

    def __init__(self, schemas: Schema, models: Iterator[str]) -> None:
        self._schemas = schemas
        self._models = models

    def places(
        self, name: str, schema: Schema, before: str, after: str, within: tuple[str, ...]
    ) -> Iterator[Place]:
        """Yield the values that a body may hold, of those that hold themselves the first."""
        if "$ref" in schema:
            ref = schema["$ref"].rpartition("/")[2]
            if ref not in within:
                yield from self.places(name, self._schemas[ref], before, after, (*within, ref))
            return
        yield Place(name, schema, before, after)
        for member in schema.get("anyOf", ()):
            yield from self.places(name, member, before, after, within)
        if isinstance(items := schema.get("items"), dict):
            yield from self.places(f"{name}[]", items, f"{before}[", f"]{after}", within)
        for key, inner in schema.get("properties", {}).items():
            others = [
                f"{json.dumps(other)}:{self._valued(other, schema['properties'][other])},"
                for other in schema.get("required", ())
                if other != key
            ]
            opened = f"{before}{{{''.join(others)}{json.dumps(key)}:"
            where = f"{name}.{key}" if name else key
            yield from self.places(where, inner, opened, f"}}{after}", within)

    def example(self, schema: Schema) -> str:
        """Return the JSON of a small value that a schema lets pass."""
        if "$ref" in schema:
            return self.example(self._schemas[schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            return self.example(schema["anyOf"][0])
        if "const" in schema or "enum" in schema:
            return json.dumps(schema.get("const", schema.get("enum", [None])[-1]))
        if schema.get("type") == "array":
            return f"[{self.example(schema['items'])}]"
        if schema.get("type") == "object":
            required = schema.get("required", ())
            pairs = (f'"{one}":{self._valued(one, schema["properties"][one])}' for one in required)
            return f"{{{','.join(pairs)}}}"
        return {"string": '"a"', "integer": "1", "number": "1", "boolean": "true"}[schema["type"]]

    def _valued(self, name: str, schema: Schema) -> str:
        return json.dumps(next(self._models)) if name == "model" else self.example(schema)


def grpc_floods(models: Sequence[str]) -> Iterator[Flood]:
    """Yield calls; what several requests have in common is made large in one of them."""
    tried: set[tuple[str, str]] = set()
    names = cycle(models)
    for method, request in METHODS.items():
        descriptor = cast(Descriptor, request.DESCRIPTOR)
        model = descriptor.fields_by_name["model"]
        for path in paths(descriptor):
            for kind, content in contents(path[-1]):
                field = path[-1]
                is_alike = kind == "many" and not field.is_repeated
                key = (field.full_name.rpartition(".")[0] if is_alike else field.full_name, kind)
                if key not in tried:
                    tried.add(key)
                    name = ".".join(field.name for field in path)
                    raw = wrapped(path[:-1], content)
                    named = delimited(model, next(names).encode())
                    yield Flood(f"{method} {name} {kind}", method, named + raw)


def contents(field: FieldDescriptor) -> Iterator[tuple[str, bytes]]:
    """Yield what is large and may stand, or not, for a field."""
    if field.type == FieldDescriptor.TYPE_STRING:
        yield "long", delimited(field, b"a" * FLOOD_BYTES)
    if field.name in JSON_TEXTS:
        yield "of lists", delimited(field, b"[" + b"[]," * (FLOOD_BYTES // 3) + b"0]")
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
        yield "many", delimited(field, b"") * (FLOOD_BYTES // len(delimited(field, b"")))
        yield "as many as may be", delimited(field, b"") * (MAX_FIELDS - 9)
        return
    one = varint(field.number << 3) + b"\1"
    yield "many", one * (FLOOD_BYTES // len(one))
    if field.is_repeated:
        yield "packed", delimited(field, b"\1" * FLOOD_BYTES)
        yield "as many as may be", delimited(field, b"\1" * (MAX_VALUES - 9))


def paths(descriptor: Descriptor, above: Path = ()) -> Iterator[Path]:
    """Yield the path of every field of a request, of those in themselves once."""
    for field in descriptor.fields:
        yield (*above, field)
        if field.message_type and field.message_type not in [one.message_type for one in above]:
            yield from paths(field.message_type, (*above, field))


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def delimited(field: FieldDescriptor, content: bytes) -> bytes:
    """Return a field with a length."""
    return varint(field.number << 3 | 2) + varint(len(content)) + content


def wrapped(path: Path, content: bytes) -> bytes:
    """Return a message that holds `content` where the path leads."""
    for field in reversed(path):
        content = delimited(field, content)
    return content
