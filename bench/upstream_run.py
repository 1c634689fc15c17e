"""TensorRT-LLM's own parsers, run: a script of a checkout goes as far as it parses its arguments.

What it imports is stood in for, but for the standard library and the modules of the checkout that
hold choices of its arguments. A process of its own runs it, for what it does to its interpreter.
"""

import argparse
import contextlib
import importlib.abc
import importlib.machinery
import json
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

TIMEOUT_S = 60
REAL = {
    "tensorrt_llm.plugin": "tensorrt_llm/plugin/__init__.py",
    "tensorrt_llm.plugin.plugin": "tensorrt_llm/plugin/plugin.py",
    "tensorrt_llm.logger": "tensorrt_llm/logger.py",
    "tensorrt_llm.lora_manager": "tensorrt_llm/lora_manager.py",
    "tensorrt_llm.auto_parallel.cluster_info": "tensorrt_llm/auto_parallel/cluster_info.py",
}
Read = Callable[[str], str | None]
_parse_args = argparse.ArgumentParser.parse_args


def read(git: Path, revision: str, path: str) -> str | None:
    """Return a file's text; None where there is none."""
    words = ["git", f"--git-dir={git}", "show", f"{revision}:{path}"]
    shown = subprocess.run(words, capture_output=True, text=True, check=False)
    return shown.stdout if shown.returncode == 0 else None


def parse(git: Path, revision: str, script: str, lines: Sequence[Sequence[str]]) -> list[str]:
    """Return why the script refuses each line of arguments, "" where it takes it.

    Raises RuntimeError where the script does not get as far as to parse.
    """
    command = [sys.executable, "-m", __name__, str(git.absolute()), revision, script]
    done = subprocess.run(
        command, input=json.dumps(lines), capture_output=True, text=True, timeout=TIMEOUT_S,
        check=False, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    if done.returncode:
        *_, reason = ["", *done.stderr.splitlines()]
        raise RuntimeError(f"{revision}: {script} cannot be run: {reason}")
    answers: list[str] = json.loads(done.stdout)
    return answers


class Anything:
    """Stands for whatever a module has: called, read, iterated, inherited from, it does nothing."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return a function that is to be decorated, or anything."""
        is_decorated = len(args) == 1 and not kwargs and isinstance(args[0], types.FunctionType)
        return args[0] if is_decorated else Anything()

    def __getattr__(self, name: str) -> "Anything":
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __getitem__(self, key: Any) -> "Anything":
        return Anything()

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __contains__(self, value: Any) -> bool:
        return True

    def __or__(self, other: Any) -> "Anything":
        return Anything()

    __ror__ = __or__

    def __mro_entries__(self, bases: Any) -> tuple[type, ...]:
        return ()


class _Module(types.ModuleType):
    __version__ = "0"

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()


class Imports(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module that is not of the standard library: a real one of the checkout where
    it is named in REAL, else one that has anything."""

    def __init__(self, read_file: Read) -> None:
        self._read = read_file

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        """Return that of a module to stand in for."""
        if name.partition(".")[0] in sys.stdlib_module_names:
            return None
        is_package = REAL.get(name, "__init__.py").endswith("__init__.py")
        return importlib.machinery.ModuleSpec(name, self, is_package=is_package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """Return an empty module."""
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the checkout's file, if it is a real one."""
        path = REAL.get(module.__name__)
        text = self._read(path) if path else None
        if text is not None:
            module.__file__ = path
            exec(compile(text, str(path), "exec"), module.__dict__)


class Parsed(BaseException):
    """The script has parsed its arguments."""


class Refused(BaseException):
    """The script's parser ended with an error."""


def parse_args(parser: argparse.ArgumentParser, args: Any = None, names: Any = None) -> NoReturn:
    """Parse; raise Parsed, or Refused also where a flag is but the beginning of another."""
    _parse_args(parser, args, names)
    known = parser._option_string_actions
    for word in sys.argv[1:]:
        if word.startswith("--") and word not in known:
            raise Refused(f"takes {word} for another")
    raise Parsed


def refuse(_: argparse.ArgumentParser, message: str) -> NoReturn:
    """Raise Refused."""
    raise Refused(message)


def outcome(code: types.CodeType, words: Sequence[str]) -> str:
    """Return why a script refuses its arguments, "" where it takes them."""
    sys.argv = [code.co_filename, *words]
    package = str(Path(code.co_filename).parent).replace("/", ".")
    names = {"__name__": "__main__", "__file__": code.co_filename, "__package__": package}
    try:
        exec(code, names)
        if callable(main := names.get("main")):
            main()
    except Parsed:
        return ""
    except Refused as refused:
        return str(refused)
    raise RuntimeError("it ended without parsing anything")


def run(git: Path, revision: str, script: str, lines: Sequence[Sequence[str]]) -> list[str]:
    """Return the outcome of each line, in this process, which is of no other use after."""
    text = read(git, revision, script)
    if text is None:
        raise RuntimeError("it is not there")
    sys.meta_path.insert(0, Imports(lambda path: read(git, revision, path)))
    argparse.ArgumentParser.parse_args = parse_args  # type: ignore[assignment,method-assign]
    argparse.ArgumentParser.error = refuse  # type: ignore[method-assign]
    code = compile(text, script, "exec")
    return [outcome(code, words) for words in lines]


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = run(Path(sys.argv[1]), sys.argv[2], sys.argv[3], json.load(sys.stdin))
    print(json.dumps(found))
