"""The models file: what it must not say."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError, load_models_file


def load(folder: Path, *models: str) -> None:
    file = folder / "models.yaml"
    file.write_text("models: [" + ", ".join(f"{{tokenizer: t, {one}}}" for one in models) + "]")
    load_models_file(file)


@pytest.mark.parametrize(
    ("models", "name", "places"),
    [
        (["id: a", "id: b", "id: a"], "a", ["models.0.id", "models.2.id"]),
        (["id: a", "id: b, aliases: [c, a]"], "a", ["models.0.id", "models.1.aliases.1"]),
        (["id: b, aliases: [c]", "id: c"], "c", ["models.0.aliases.0", "models.1.id"]),
        (
            ["id: a", "id: b, lora: [{id: a, task_id: 1, path: p}]"],
            "a",
            ["models.0.id", "models.1.lora.0.id"],
        ),
        (
            ["id: a, lora: [{id: x, task_id: 1, path: p}, {id: x, task_id: 2, path: p}]"],
            "x",
            ["models.0.lora.0.id", "models.0.lora.1.id"],
        ),
    ],
    ids=["ids", "id and alias", "alias and id", "id and adapter", "adapters"],
)
def test_a_name_that_two_models_have_is_told_with_both_places(
    tmp_path: Path, models: list[str], name: str, places: list[str]
) -> None:
    with pytest.raises(SettingsError, match=f"'{name}' names two models") as raised:
        load(tmp_path, *models)

    assert all(place in str(raised.value) for place in places)


@pytest.mark.parametrize(
    "address", ["foo", "foo:", ":1", "foo:0", "foo:70000", "http://foo:1", "::1:80", "a b:1", "a:१"]
)
def test_an_address_that_is_none_is_told_by_its_place(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError, match=r"models\.0\.triton\.address: .*HOST:PORT"):
        load(tmp_path, f"id: a, triton: {{address: '{address}'}}")


@pytest.mark.parametrize("address", ["foo:1", "127.0.0.1:8001", "[::1]:65535", "a-b.c_d.svc:80"])
def test_an_address_is_taken_as_it_is(tmp_path: Path, address: str) -> None:
    load(tmp_path, f"id: a, triton: {{address: '{address}'}}")
