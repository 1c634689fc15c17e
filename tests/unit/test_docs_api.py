"""The page on the API states every parameter, its range and its fate as the code has them."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app import create_app
from gateway.models import Models
from gateway.openai.parameters import HINTS, IGNORED, REFUSED
from gateway.settings import Settings
from tests import openai_spec
from tests.openai_spec import SPEC_PARAMETERS

ROOT = Path(__file__).parents[2]
DOCUMENT = create_app(Settings(), Models()).openapi()
SCHEMAS = DOCUMENT["components"]["schemas"]
BODIES = ["ChatCompletionRequest", "CompletionRequest", "TokenizeRequest", "DetokenizeRequest"]


def rows(body: str) -> list[str]:
    """Return the table rows that the page must have for one body."""
    properties: dict[str, Any] = SCHEMAS[body]["properties"]
    return [
        f"| `{name}` | {fate(name, schema)} | {form(schema)} | {schema['description']} |"
        for name, schema in properties.items()
    ]


def fate(name: str, schema: dict[str, Any]) -> str:
    if name in HINTS:
        return "hint"
    if name in IGNORED:
        return "ignored"
    if name in REFUSED or schema["description"].startswith("Refused"):
        return "refused"
    return "mapped" if schema.get("deprecated") else "supported"


def form(schema: dict[str, Any]) -> str:
    """Return in words what values a JSON schema lets pass."""
    if "anyOf" in schema:
        members = [member for member in schema["anyOf"] if member.get("type") != "null"]
        return " or ".join(map(form, members))
    if "enum" in schema:
        return " or ".join(map(json.dumps, schema["enum"]))
    kind = schema.get("type", "object" if "$ref" in schema else "anything")
    return FORMS.get(kind, lambda _: str(kind))(schema)


def _list_form(schema: dict[str, Any]) -> str:
    most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
    return f"list of {form(schema['items'])}{most}"


def _text_form(schema: dict[str, Any]) -> str:
    return f"string of at most {schema['maxLength']}"


def _range_form(schema: dict[str, Any]) -> str:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema["maximum"] if "maximum" in schema else schema["exclusiveMaximum"] - 1
    above = "above " if "exclusiveMinimum" in schema else ""
    return f"{schema['type']}, {above}{least} to {most}"


FORMS = {
    "array": _list_form,
    "integer": _range_form,
    "number": _range_form,
    "string": _text_form,
}


@pytest.mark.parametrize("body", BODIES)
def test_the_page_states_every_parameter(body: str) -> None:
    page = (ROOT / "docs/api.md").read_text()
    section = page.split(f"({body})\n")[1].split("\n## ")[0]

    assert [row for row in section.splitlines() if row.startswith("| `")] == rows(body)


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_the_page_names_every_path(path: str) -> None:
    assert f" {path}`" in (ROOT / "docs/api.md").read_text()


@pytest.mark.parametrize("body", SPEC_PARAMETERS)
def test_every_parameter_of_openai_is_documented(body: str) -> None:
    assert SPEC_PARAMETERS[body] <= SCHEMAS[body]["properties"].keys()


@pytest.mark.skipif(not openai_spec.PATH.exists(), reason="OpenAI's schema is not here")
def test_the_list_of_openais_parameters_is_openais() -> None:
    listed = {body: openai_spec.parameters(f"Create{body}") for body in SPEC_PARAMETERS}

    assert listed == SPEC_PARAMETERS


def test_every_schema_that_is_referred_to_is_there() -> None:
    referred = {ref.rpartition("/")[2] for ref in references(DOCUMENT)}

    assert referred <= SCHEMAS.keys()


def references(node: Any) -> list[str]:
    """Return every `$ref` in a document."""
    if isinstance(node, list):
        return [ref for item in node for ref in references(item)]
    if not isinstance(node, dict):
        return []
    return [node["$ref"]] if "$ref" in node else references(list(node.values()))
