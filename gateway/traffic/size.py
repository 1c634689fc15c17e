"""How large what a caller sends may be, all in one place; and JSON looked at before it is read.

Every bound is one that no honest client meets. Those that operators differ in are settings.
"""

from collections.abc import Iterator, Sequence

from gateway.errors import InvalidRequest

# What one body, or a text that holds JSON, may be made of.
MAX_CONTAINERS = 2**15
"""Objects and lists."""
MAX_VALUES = 2**19
"""Values, the ids of prompts among them."""
MAX_MEMBERS = 2**17
"""Names in objects."""
MAX_FIELDS = 2**16
"""Fields in a message of gRPC, those of messages within it as well."""
MAX_DEPTH = 200
"""Objects and lists within each other: what the reader of bodies, pydantic-core, goes into."""
MAX_UNKNOWN = 64
"""Parameters that no schema has."""

# Texts, in characters.
MAX_TEXT = 2**23
"""Prompts and messages, in bytes of JSON as well: the model's context is reached before."""
MAX_ID = 4096
"""What names a call or a speaker: some services keep their own state in ids."""
MAX_WORD = 256
"""Ids of models, types, efforts, words that must not appear."""
MAX_NAME = 64
"""What names a function or a schema."""
MAX_STOP = 512
MAX_STOP_CHARS = 2**12
"""Of all stop strings of a request."""
MAX_DESCRIPTION = 2**16
MAX_REGEX = 2**12
MAX_GRAMMAR = 2**15
MAX_SCHEMA = 2**17
"""A JSON schema as JSON: what OpenAI allows."""
MAX_GUIDE = 2**19
"""What is made of schemas of tools, or of options, for an engine to compile."""

# Lists and objects.
MAX_MESSAGES = 2**13
MAX_PARTS = 2**12
MAX_CALLS = 2**8
MAX_TOOLS = 2**7
MAX_STOPS = 2**6
MAX_STOP_IDS = 2**6
MAX_BAD_WORDS = 2**6
MAX_BIASES = 2**10
MAX_OPTIONS = 2**12
MAX_MODALITIES = 2**3
MAX_PROPERTIES = 2**10
"""Names in an object that is free in form."""

# Answers.
MAX_SEQUENCES = 2**7
MAX_CANDIDATES = 20
MAX_CHOICES = 2**9
"""Sequences of one request: prompts times `n` or `best_of`."""
MAX_HELD = 2**17
"""Characters of an answer that are held back while it is open whether they are a call."""
MAX_ECHO = 2**23
"""Characters that an answer repeats of prompts, in all its choices together."""

_MARKS = b",:[{"
_NO_MARKS = bytes(byte for byte in range(256) if byte not in _MARKS)
_NO_MARKS_NOR_QUOTES = bytes(byte for byte in _NO_MARKS if byte != ord('"'))
_FEW = 2**12
_MAX_QUOTES = 2**19
_CHUNK_BYTES = 2**20
"""What is looked at in one call, during which no other thread can do anything."""


def check_json(raw: bytes, subject: str = "The body", param: str | None = None) -> None:
    """Raise InvalidRequest for JSON of too many values or too long a text, before it is read.

    Takes time linear in its length, about a nanosecond a byte. What is no JSON passes: up to
    where it goes wrong it has no more values than are counted.
    """
    if len(raw) > MAX_TEXT and _longest_text(raw) > MAX_TEXT:
        raise _too_many(subject, param, f"{MAX_TEXT:,} bytes in a text")
    marks = b"".join(chunk.translate(None, _NO_MARKS) for chunk in _chunks(raw))
    if len(marks) <= _FEW or not _excess(marks):
        return
    # Texts hold marks as well, so that they were only a bound from above: leave texts out.
    bare = b"".join(
        _unescaped(chunk).translate(None, _NO_MARKS_NOR_QUOTES) for chunk in _chunks(raw)
    )
    if bare.count(b'"') > _MAX_QUOTES:
        raise _too_many(subject, param, f"{_MAX_QUOTES // 2:,} texts")
    if excess := _excess(b"".join(bare.split(b'"')[::2])):
        raise _too_many(subject, param, excess)


def check_length(
    given: str | bytes | Sequence[object], most: int, param: str, unit: str = "characters"
) -> None:
    """Raise InvalidRequest, telling the bound, for what is longer than `most`."""
    if len(given) > most:
        raise InvalidRequest(f"{param!r} has more than {most:,} {unit}.", param=param)


def _longest_text(raw: bytes) -> int:
    """Return the length of the longest text in JSON, of those that are longer than a chunk."""
    longest = length = 0
    is_text = False
    for chunk in map(_unescaped, _chunks(raw)):
        num_quotes = chunk.count(b'"')
        length += chunk.find(b'"') if num_quotes else len(chunk)
        if is_text:
            longest = max(longest, length)
        if num_quotes:
            is_text ^= num_quotes % 2 == 1
            length = len(chunk) - 1 - chunk.rfind(b'"')
    return longest


def _chunks(raw: bytes) -> Iterator[bytes]:
    """Yield JSON in parts, none of which ends within an escape."""
    start = 0
    while start < len(raw):
        chunk = raw[start : start + _CHUNK_BYTES]
        if (len(chunk) - len(chunk.rstrip(b"\\"))) % 2:
            chunk = raw[start : start + len(chunk) + 1]
        yield chunk
        start += len(chunk)


def _unescaped(chunk: bytes) -> bytes:
    """Return JSON of the same length in which every quote begins or ends a text."""
    return chunk.replace(rb"\\", b"__").replace(rb"\"", b"__")


def _excess(marks: bytes) -> str | None:
    """Return the bound that is exceeded, if any. A value follows a comma or opens a container."""
    containers = marks.count(b"[") + marks.count(b"{")
    if containers > MAX_CONTAINERS:
        return f"{MAX_CONTAINERS:,} objects and lists"
    if containers + marks.count(b",") > MAX_VALUES:
        return f"{MAX_VALUES:,} values"
    if marks.count(b":") > MAX_MEMBERS:
        return f"{MAX_MEMBERS:,} names in objects"
    return None


def _too_many(subject: str, param: str | None, bound: str) -> InvalidRequest:
    return InvalidRequest(f"{subject} holds more than {bound}.", param=param)
