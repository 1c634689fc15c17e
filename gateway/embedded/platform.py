"""Whether the tritonserver of the nvidia-pytriton wheel can run on this machine.

Facts are gathered by `Platform.detect` and judged by `check_platform`; nothing is started here.
"""

import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_OLDEST_GLIBC = (2, 35)
_NEWEST_PYTHON = (3, 12)
_ALTERNATIVES = """\
Instead, run Triton elsewhere and point the gateway at it:
  gateway serve --triton HOST:PORT --tokenizer DIR
or start both in containers:
  docker compose up"""


class PlatformUnsupported(Exception):
    """The wheel's tritonserver cannot run here; the message says why and what to do instead."""


@dataclass(frozen=True)
class Platform:
    """What decides whether the wheel's tritonserver runs; None where a thing is absent."""

    system: str
    machine: str
    glibc: tuple[int, int] | None
    python: tuple[int, int]
    numpy: str | None
    libpython: Path | None
    tritonserver: Path | None
    stub: Path | None

    @classmethod
    def detect(cls) -> "Platform":
        """Describe the running interpreter and the machine under it."""
        python = sys.version_info[:2]
        home = _wheel_home()
        return cls(
            system=platform.system(),
            machine=platform.machine(),
            glibc=_glibc(),
            python=python,
            numpy=_numpy_version(),
            libpython=_find_libpython(python),
            tritonserver=home,
            stub=_find_stub(home, python),
        )


def check_platform(facts: Platform) -> None:
    """Return when the wheel's tritonserver can run on such a machine.

    Raises PlatformUnsupported with everything that stands in the way.
    """
    problems = list(_machine_problems(facts)) or list(_package_problems(facts))
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise PlatformUnsupported(
            f"The tritonserver of the nvidia-pytriton wheel cannot run here:\n{listed}\n"
            f"{_ALTERNATIVES}"
        )


def _machine_problems(facts: Platform) -> Iterator[str]:
    if (facts.system, facts.machine) != ("Linux", "x86_64"):
        yield f"it needs Linux on x86-64; this is {facts.system} on {facts.machine}"
    elif facts.glibc is None:
        yield "it needs glibc >= 2.35; this system has another C library"
    elif facts.glibc < _OLDEST_GLIBC:
        yield f"it needs glibc >= 2.35; this system has {_dotted(facts.glibc)}"
    if facts.python > _NEWEST_PYTHON:
        yield (
            f"its models need Python <= 3.12 (numpy 1.26 has no wheel for newer); "
            f"this is Python {_dotted(facts.python)}"
        )


def _package_problems(facts: Platform) -> Iterator[str]:
    if facts.tritonserver is None:
        yield (
            "the wheel is not installed: pip install 'triton-openai-gateway[embedded]' "
            "(or `make install`)"
        )
    elif facts.stub is None:
        yield f"the wheel has no python-backend stub for Python {_dotted(facts.python)}"
    if facts.numpy is None or int(facts.numpy.partition(".")[0]) >= 2:
        yield (
            "its models need numpy < 2, with 2 every output tensor is silently empty: "
            f"pip install 'numpy<2' (found: {facts.numpy or 'none'})"
        )
    if facts.libpython is None:
        name = f"libpython{_dotted(facts.python)}"
        yield f"{name}.so.1.0 is missing: on Debian and Ubuntu, apt-get install {name}"


def _dotted(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))


def _glibc() -> tuple[int, int] | None:
    name, found = platform.libc_ver()
    if name != "glibc":
        return None
    major, minor = found.split(".")[:2]
    return int(major), int(minor)


def _numpy_version() -> str | None:
    try:
        return version("numpy")
    except PackageNotFoundError:
        return None


def _find_libpython(python: tuple[int, int]) -> Path | None:
    directories = [
        sysconfig.get_config_var("LIBDIR") or "/usr/lib",
        f"{sys.base_prefix}/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib64",
    ]
    name = f"libpython{_dotted(python)}.so.1.0"
    candidates = (Path(directory, name) for directory in directories)
    return next((path for path in candidates if path.is_file()), None)


def _wheel_home() -> Path | None:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        return None
    home = Path(spec.submodule_search_locations[0], "tritonserver")
    return home if (home / "bin" / "tritonserver").is_file() else None


def _find_stub(home: Path | None, python: tuple[int, int]) -> Path | None:
    if home is None:
        return None
    stub = home / "python_backend_stubs" / _dotted(python) / "triton_python_backend_stub"
    return stub if stub.is_file() else None
