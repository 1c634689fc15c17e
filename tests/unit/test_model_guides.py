"""Guides are judged by their text before anything is compiled, and verdicts are bounded."""

import json

import pytest
from backend.contract import Guide, Refused
from backend.engines.openvino.guide_size import MAX_GUIDE_BYTES, check_size, is_cheap
from backend.engines.openvino.guide_verdicts import Verdicts


def schema(value: object) -> Guide:
    return Guide("json_schema", json.dumps(value))


def properties(count: int) -> dict[str, object]:
    return {"type": "object", "properties": {f"p{at}": {"type": "string"} for at in range(count)}}


@pytest.mark.parametrize(
    "guide",
    [
        pytest.param(Guide("json", ""), id="any json"),
        pytest.param(schema(properties(5)), id="small schema"),
        pytest.param(schema({"anyOf": [{"const": at} for at in range(20)]}), id="union"),
        pytest.param(schema({"maxLength": 12, "minimum": 0, "maximum": 99}), id="bounds"),
        pytest.param(Guide("regex", "(yes|no|perhaps)"), id="choice"),
    ],
)
def test_a_short_guide_that_nothing_multiplies_is_cheap(guide: Guide) -> None:
    assert is_cheap(guide)


@pytest.mark.parametrize(
    "guide",
    [
        pytest.param(schema(properties(50)), id="many properties"),
        pytest.param(schema({"enum": ["a" * 30] * 100}), id="long"),
        pytest.param(schema({"type": "string", "pattern": "(a{9}){9}"}), id="pattern"),
        pytest.param(schema([{"items": {"minItems": 10**6}}]), id="count deep inside"),
        pytest.param(schema({"$ref": "#"}), id="reference"),
        pytest.param(schema({"maxLength": 33}), id="count"),
        pytest.param(schema([{"maxLength": 30}] * 4), id="counts"),
        pytest.param(schema([{"minLength": -90}, *[{"maxLength": 30}] * 4]), id="negative count"),
        pytest.param(schema({"minimum": -(10**16)}), id="far bound"),
        pytest.param(schema({"maxLength": "9"}), id="count that is none"),
        pytest.param(schema([{"minimum": at} for at in range(21)]), id="ranges"),
        pytest.param(Guide("json_schema", "{"), id="not json"),
        pytest.param(Guide("json_schema", "[" * 2000), id="deep"),
        pytest.param(Guide("regex", "a{1,9999}"), id="counted"),
        pytest.param(Guide("regex", "(a|b)*a"), id="repeated"),
        pytest.param(Guide("ebnf_grammar", "root ::= root"), id="grammar"),
    ],
)
def test_what_may_cost_more_than_it_looks_is_not_cheap(guide: Guide) -> None:
    assert not is_cheap(guide)


def test_a_guide_is_refused_above_a_size_in_bytes() -> None:
    check_size(Guide("regex", "a" * MAX_GUIDE_BYTES))

    with pytest.raises(Refused, match="invalid guide: 1048576 bytes"):
        check_size(Guide("regex", "ä" * MAX_GUIDE_BYTES))


def test_verdicts_are_remembered_until_newer_ones_need_their_room() -> None:
    verdicts = Verdicts(max_bytes=4000)
    guides = [Guide("regex", letter * 300) for letter in "abc"]

    for guide in guides[:2]:
        verdicts.put(guide, "")
    assert verdicts.get(guides[0]) == ""
    verdicts.put(guides[2], "it is bad")

    assert [verdicts.get(guide) for guide in guides] == ["", None, "it is bad"]


def test_a_verdict_that_alone_is_too_large_is_not_kept() -> None:
    verdicts = Verdicts(max_bytes=4000)

    verdicts.put(Guide("regex", "a" * 1000), "")

    assert verdicts.get(Guide("regex", "a" * 1000)) is None


def test_a_verdict_given_again_takes_the_place_of_the_first() -> None:
    verdicts = Verdicts(max_bytes=4000)
    guide = Guide("regex", "a" * 300)

    for _ in range(10):
        verdicts.put(guide, "slow")
    verdicts.put(guide, "")

    assert verdicts.get(guide) == ""
