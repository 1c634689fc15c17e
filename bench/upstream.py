"""The tables of build_engine against TensorRT-LLM's own source: flags, their values, whole lines.

Reads the arguments of trtllm-build and of the example scripts in a checkout, without running it;
with --run, has its own parsers parse the lines too, which runs code of the checkout.

    python -m bench.upstream --git CHECKOUT/.git ... --revision REVISION ... [--run] [--output FILE]
"""

import argparse
import ast
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.upstream_run import parse, read
from build_engine.commands import Command, Downloads, Toolbox, build_command, checkpoint_command
from build_engine.errors import BuildError
from build_engine.spec import EngineSpec, load_spec, shipped_specs
from build_engine.versions import FLAGS, RELEASES, Flag, Release, flags_of

PLUGINS = "tensorrt_llm/plugin/plugin.py"
FILES: Mapping[str, tuple[str, ...]] = {
    "trtllm-build": ("tensorrt_llm/commands/build.py",),
    "convert_checkpoint": (
        "examples/models/core/llama/convert_checkpoint.py",
        "examples/llama/convert_checkpoint.py",
    ),
    "quantize": ("examples/quantization/quantize.py",),
    "eagle_convert_checkpoint": ("examples/eagle/convert_checkpoint.py",),
}
# What stands between files: options of a plugin in the words of plugin.py, by age.
OPTIONS = ("plugin_options", "DEFAULT_PLUGIN_DTYPE_OPTIONS")
SPECIAL = "PLUGIN_DTYPE_OPTIONS_MAP"
ON_OFF = ("enable", "disable")


@dataclass(frozen=True)
class Source:
    """One revision of a checkout."""

    git: Path
    revision: str

    def read(self, path: str) -> ast.Module | None:
        """Return a file, parsed; None where there is none."""
        text = read(self.git, self.revision, path)
        return ast.parse(text) if text is not None else None

    def script(self, tool: str) -> str | None:
        """Return where a tool's arguments are; None where the tool is not there."""
        return next((path for path in FILES[tool] if self.read(path) is not None), None)

    @property
    def version(self) -> str:
        """What tensorrt_llm/version.py says."""
        module = self.read("tensorrt_llm/version.py")
        if module is None:
            raise SystemExit(f"{self.revision}: no tensorrt_llm/version.py there")
        return str(constants(module)["__version__"])

    def arguments(self, tool: str) -> dict[str, tuple[str, ...] | None] | None:
        """Return a tool's flags with the values that they take (None: any), None where the tool is
        not there."""
        path = self.script(tool)
        module = self.read(path) if path is not None else None
        if module is None:
            return None
        found = dict(added(module))
        if tool == "trtllm-build" and (plugins := self.read(PLUGINS)) is not None:
            found |= plugin_arguments(plugins)
        return found


def constants(module: ast.Module) -> dict[str, Any]:
    """Return the module's names that are set to plain values."""
    found: dict[str, Any] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def added(module: ast.Module) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Yield the flags that a module's calls of add_argument name, with their choices."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") != "add_argument":
            continue
        names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        choices = next((word.value for word in node.keywords if word.arg == "choices"), None)
        for name in names:
            if isinstance(name, str) and name.startswith("--"):
                yield name[2:], plain(choices)


def plain(choices: ast.expr | None) -> tuple[str, ...] | None:
    """Return choices that are written out; None where they are computed, or there are none."""
    try:
        return tuple(map(str, ast.literal_eval(choices))) if choices is not None else None
    except ValueError:
        return None


def plugin_arguments(module: ast.Module) -> dict[str, tuple[str, ...] | None]:
    """Return the flags that `add_plugin_argument` makes of PluginConfig's fields."""
    known = constants(module)
    shown = set(known.get("cli_plugin_args", ()))
    default = next((known[name] for name in OPTIONS if name in known), ())
    special = known.get(SPECIAL, {})
    return {
        name: _options(kind, special.get(name, default))
        for name, kind in plugin_fields(module)
        if name in shown
    }


def _options(kind: str, known: tuple[Any, ...]) -> tuple[str, ...] | None:
    """Return what a field takes; None where plugin.py does not write it out."""
    if kind == "bool":
        return ON_OFF
    return (*dict.fromkeys(map(str, known)), "disable") if kind == "str" and known else None


def plugin_fields(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield PluginConfig's fields: `str` for a plugin, `bool` for a feature."""
    bodies = [
        n.body for n in module.body if isinstance(n, ast.ClassDef) and n.name == "PluginConfig"
    ]
    for node in (node for body in bodies for node in body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = ast.unparse(node.annotation)
            plain_kind = next((word for word in ("str", "bool", "int") if word in kind), "str")
            yield node.target.id.removeprefix("_"), plain_kind


@dataclass
class Result:
    """What one revision says of the tables."""

    revision: str
    version: str
    held_against: str
    flags: int = 0
    lines: int = 0
    parsed: int = 0
    wrong: list[str] = field(default_factory=list)
    not_there: list[str] = field(default_factory=list)


def watch(source: Source, *, run: bool = False) -> Result:
    """Hold the tables of the release that a revision led to against it; where it may be run, have
    its own parsers parse the lines too."""
    version = source.version
    number = ".".join(version.split(".")[:3])
    release = next((release for release in RELEASES if release.number == number), RELEASES[-1])
    result = Result(source.revision, version, release.number)
    theirs = {tool: source.arguments(tool) for tool in FLAGS}
    for tool, flags in theirs.items():
        ours = flags_of(tool, release)
        if flags is None:
            result.not_there += [tool] if ours else []
            continue
        result.flags += len(ours)
        result.wrong += [f"{tool}: {text}" for text in differences(ours, flags)]
    for command in commands(release):
        flags = theirs[command.tool]
        if flags is not None:
            result.lines += 1
            result.wrong += [f"{command.tool}: {text}" for text in refusals(command, flags)]
    for tool, text in parsers_say(source, release) if run else ():
        result.parsed += not text
        result.wrong += [f"{tool}'s parser: {text}"] if text else []
    result.wrong = sorted(set(result.wrong))
    return result


def differences(
    ours: Mapping[str, Flag], theirs: Mapping[str, tuple[str, ...] | None]
) -> Iterator[str]:
    """Yield flags, and values of flags, that our table has and the source does not."""
    for name, flag in ours.items():
        if name not in theirs:
            yield f"no --{name}"
        elif (takes := theirs[name]) and (lost := set(flag.values) - set(takes)):
            yield f"--{name} takes {', '.join(takes)}, not {', '.join(sorted(lost))}"


def commands(release: Release) -> Iterator[Command]:
    """Yield the lines of every shipped spec that a release can build."""
    for name in shipped_specs():
        try:
            spec: EngineSpec = load_spec(name).replaced(tensorrt_llm=release.number)
        except BuildError:
            continue
        if spec.quantization.published or spec.llm:
            continue
        downloads = Downloads.of(spec)
        yield checkpoint_command(spec, Toolbox(), downloads, Path("CHECKPOINT"))
        yield build_command(spec, Toolbox(), Path("CHECKPOINT"), Path("ENGINE"))


def refusals(command: Command, theirs: Mapping[str, tuple[str, ...] | None]) -> Iterator[str]:
    """Yield why a tool would refuse a line: flags it has not, values it does not take."""
    for word, value in zip(command.argv, [*command.argv[1:], ""], strict=True):
        if not word.startswith("--"):
            continue
        if word[2:] not in theirs:
            yield f"refuses {word}"
        elif (takes := theirs[word[2:]]) and value not in takes:
            yield f"refuses {word} {value}"


def parsers_say(source: Source, release: Release) -> Iterator[tuple[str, str]]:
    """Yield, for every line of a tool that is there, the tool and why its parser refuses the line,
    "" where it takes it."""
    lines: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for command in commands(release):
        lines[command.tool].append(command.arguments)
    for tool, arguments in lines.items():
        if (path := source.script(tool)) is not None:
            for text in parse(source.git, source.revision, path, arguments):
                yield tool, text


def source_of(gits: list[Path], revision: str) -> Source:
    """Return a revision in the first checkout that has it."""
    for git in gits:
        if read(git, revision, "tensorrt_llm/version.py") is not None:
            return Source(git, revision)
    raise SystemExit(f"{revision}: no tensorrt_llm/version.py there")


def main() -> None:
    """Print what was found; end with 1 where a table is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--git", nargs="+", type=Path, required=True)
    parser.add_argument("--revision", nargs="+", default=["HEAD"])
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    results = [watch(source_of(given.git, each), run=given.run) for each in given.revision]
    text = json.dumps([asdict(result) for result in results], indent=2) + "\n"
    sys.stdout.write(text)
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    sys.exit(any(result.wrong for result in results))


if __name__ == "__main__":
    main()
