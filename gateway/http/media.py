"""What a body may be sent as: JSON, in UTF-8, perhaps compressed."""

from collections.abc import Mapping

from gateway.errors import UnsupportedMediaType

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
CHARSETS = ("utf-8", "utf8", "us-ascii")
CODINGS = ("gzip", "x-gzip", "deflate")
IDENTITY = ("", "identity")
MAX_SHOWN = 100

SEND = f"send the header 'Content-Type: {JSON}'."


def require_json(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedMediaType, with what to send, unless the body is said to be JSON.

    Nor is it guessed: what a browser sends for a page of another site without asking first is
    never called JSON.
    """
    given = headers.get("content-type", "")
    if given == JSON:
        return
    media, *parameters = [part.strip().lower() for part in given.split(";", 8)]
    if not media:
        raise UnsupportedMediaType(f"The request does not say what its body is: {SEND}")
    if media == FORM:
        raise UnsupportedMediaType(
            f"The body is called {FORM}, as curl -d does unless told otherwise: {SEND}"
        )
    if media != JSON and not (media.startswith("application/") and media.endswith("+json")):
        raise UnsupportedMediaType(f"The body is called {media[:MAX_SHOWN]!r}, not JSON: {SEND}")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip(' "') not in CHARSETS:
            raise UnsupportedMediaType(
                f"The body's charset is {value[:MAX_SHOWN]!r}: JSON is read in UTF-8."
            )


def coding_of(headers: Mapping[str, str]) -> str | None:
    """Return the coding that the body is compressed with, if it is.

    Raises UnsupportedMediaType, naming it, for one that is not read here, and for several.
    """
    given = headers.get("content-encoding")
    if given is None:
        return None
    codings = [one.strip().lower() for one in given.split(",", 8)]
    codings = [coding for coding in codings if coding not in IDENTITY]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] not in CODINGS:
        raise UnsupportedMediaType(
            f"The body's coding is {given[:MAX_SHOWN]!r}: gzip and deflate are read, or none.",
            code="unsupported_content_encoding",
        )
    return codings[0]
