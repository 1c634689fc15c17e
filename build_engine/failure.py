"""How a command that cannot go on says so: one message, no traceback, exit status 1."""

import errno
import functools
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

import typer

from build_engine.errors import BuildError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
# What a disk says, and what to do then.
_ADVICE = {
    errno.ENOSPC: "free some space there, or choose another place, then run the same command again",
    errno.EDQUOT: "your quota there is used up: free some space, or choose another place",
    errno.EACCES: "choose a place that you may write to, or ask for the right to",
    errno.EPERM: "choose a place that you may write to, or ask for the right to",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.ENOENT: "look whether the name is right",
    errno.ENOTDIR: "a part of that path is a file: choose another place",
    errno.EISDIR: "that is a folder, and a file is meant",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def fail(error: BuildError | OSError) -> NoReturn:
    """Print an error, with what to do about it where that is known, and end with status 1."""
    typer.secho(f"error: {_told(error)}", fg=typer.colors.RED, err=True)
    raise SystemExit(1)


def explained(command: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Return a command that fails by a message where it cannot go on or a disk refuses."""

    @functools.wraps(command)
    def wrapper(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        try:
            return command(*arguments, **options)
        except (BuildError, OSError) as error:
            fail(error)

    return wrapper


def _told(error: BuildError | OSError) -> str:
    if isinstance(error, BuildError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    advice = _ADVICE.get(error.errno or 0, "")
    return f"{where}{error.strerror or error}{f'; {advice}' if advice else ''}"
