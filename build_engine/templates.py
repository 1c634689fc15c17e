"""Templates of Triton models into a model repository. Decides no values."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_PARAMETER_VALUE = re.compile(r'string_value: "\$\{\w+\}"')


class TemplateError(ValueError):
    """A template needs a variable that was not given, or was given one that it does not have."""


def templates_folder() -> Path:
    """The folder of model templates: inside this package once installed, else beside it."""
    installed = Path(__file__).parent / "model_repository"
    return installed if installed.is_dir() else Path(__file__).parents[1] / "model_repository"


def render(template: Path, output: Path, variables: Mapping[str, str]) -> list[Path]:
    """Copy a folder with `${name}` filled in every config.pbtxt; return the files that changed.

    A parameter whose value is not given stays `${name}`: TensorRT-LLM reads that as unset.

    Raises TemplateError before anything is written.
    """
    sources = [path for path in sorted(template.rglob("*")) if _is_part(path)]
    texts = {str(path): path.read_text() for path in sources if path.name == "config.pbtxt"}
    contents = {path: text.encode() for path, text in fill(texts, variables).items()}
    return [
        target
        for source in sources
        if _write(
            target := output / source.relative_to(template),
            contents.get(str(source)) or source.read_bytes(),
        )
    ]


def fill(texts: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return config texts, by their paths, with the variables filled in as `render` does.

    Raises TemplateError.
    """
    _check(texts, variables)
    return {path: _fill(text, variables) for path, text in texts.items()}


def variables_of(texts: Iterable[str]) -> set[str]:
    """Return the names of the variables in config texts."""
    return {name for text in texts for name in _VARIABLE.findall(text)}


def _is_part(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts


def _check(texts: Mapping[str, str], variables: Mapping[str, str]) -> None:
    if unknown := variables.keys() - variables_of(texts.values()):
        raise TemplateError(f"no template has the variable {', '.join(sorted(unknown))}")
    for path, text in texts.items():
        structural = set(_VARIABLE.findall(_PARAMETER_VALUE.sub("", text)))
        if missing := structural - variables.keys():
            raise TemplateError(f"{path} needs the variable {', '.join(sorted(missing))}")


def _fill(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), text)


def _write(target: Path, content: bytes) -> bool:
    if target.is_file() and target.read_bytes() == content:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return True
