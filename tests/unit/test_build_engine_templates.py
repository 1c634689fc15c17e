"""Templates become a model repository, or an error before anything is written."""

from pathlib import Path

import pytest

from build_engine.templates import TemplateError, render, templates_folder

CONFIG = """max_batch_size: ${size}
parameters: { key: "engine_dir" value: { string_value: "${engine_dir}" } }
parameters: { key: "quiet" value: { string_value: "${quiet}" } }
"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    folder = tmp_path / "template"
    (folder / "model" / "1" / "__pycache__").mkdir(parents=True)
    (folder / "model" / "config.pbtxt").write_text(CONFIG)
    (folder / "model" / "1" / "model.py").write_text('text = "${size}"\n')
    (folder / "model" / "1" / "__pycache__" / "model.pyc").write_bytes(b"\0")
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_configs_are_filled_in_and_all_else_is_copied(template: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"

    render(template, output, {"size": "8", "engine_dir": "/engine"})

    assert files(output) == {"model/config.pbtxt", "model/1/model.py"}
    config = (output / "model" / "config.pbtxt").read_text()
    assert config.startswith("max_batch_size: 8\n")
    assert 'string_value: "/engine"' in config
    assert (output / "model" / "1" / "model.py").read_text() == 'text = "${size}"\n'


def test_a_parameter_without_a_value_stays_as_tensorrt_llm_expects_it(
    template: Path, tmp_path: Path
) -> None:
    render(template, tmp_path / "output", {"size": "8"})

    config = (tmp_path / "output" / "model" / "config.pbtxt").read_text()
    assert 'string_value: "${quiet}"' in config


@pytest.mark.parametrize(
    ("variables", "message"),
    [({}, "needs the variable size"), ({"size": "8", "sise": "9"}, "has the variable sise")],
    ids=["missing", "unknown"],
)
def test_a_wrong_set_of_variables_writes_nothing(
    template: Path, tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(TemplateError, match=message):
        render(template, tmp_path / "output", variables)

    assert not (tmp_path / "output").exists()


def test_only_what_differs_is_written_again(template: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    first = render(template, output, {"size": "8"})

    assert render(template, output, {"size": "8"}) == []
    assert render(template, output, {"size": "9"}) == [output / "model" / "config.pbtxt"]
    assert len(first) == 2


def test_the_templates_of_this_project_are_found() -> None:
    models = {path.parent.name for path in templates_folder().glob("*/config.pbtxt")}

    assert models == {"tensorrt_llm", "preprocessing", "postprocessing", "ensemble"}
