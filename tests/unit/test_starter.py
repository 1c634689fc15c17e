"""What `gateway init` writes can be served from, and overwrites nothing."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.settings import LoraSettings, ModelSettings, TritonSettings, load_models_file
from gateway.starter import MODELS


def test_the_models_file_can_be_read_and_explains_every_key(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "new")])

    assert result.exit_code == 0, result.output
    [model] = load_models_file(tmp_path / "new/models.yaml").models
    assert (model.id, model.triton.address) == ("llama-3.1-8b-instruct", "127.0.0.1:8001")
    for key in {
        *ModelSettings.model_fields,
        *LoraSettings.model_fields,
        *TritonSettings.model_fields,
    } - {"owned_by"}:
        assert f"{key}:" in MODELS


def test_what_is_commented_out_can_be_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"

    path.write_text(re.sub(r"^( +)# (?=\w+:|  - )", r"\1", MODELS, flags=re.MULTILINE))

    [model] = load_models_file(path).models
    assert model.aliases == ("gpt-4o",)
    assert model.triton.tls is not None


def test_the_unit_serves_that_file(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["init", str(tmp_path)])

    unit = (tmp_path / "gateway.service").read_text()

    assert f"serve --models {tmp_path / 'models.yaml'}\n" in unit
    [program] = [
        line.split()[0].removeprefix("ExecStart=")
        for line in unit.splitlines()
        if line.startswith("ExecStart=")
    ]
    assert Path(program).is_file()


@pytest.mark.parametrize("name", ["models.yaml", "gateway.service"])
def test_nothing_is_overwritten_and_then_nothing_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")

    result = CliRunner().invoke(app, ["init", str(tmp_path)])

    assert result.exit_code == 1
    assert f"{name} is there already" in result.output
    assert [path.name for path in tmp_path.iterdir()] == [name]
