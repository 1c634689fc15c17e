"""The house has one way through it: this draws its floors and looks at every import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the ground up: a room may import from its own floor's room and from any below it.
FLOORS = (
    {
        "gateway",
        "gateway.errors",
        "gateway.generation",
        "gateway.hosts",
        "gateway.http2",
        "gateway.memory",
        "gateway.origin",
        "gateway.v1",
    },
    {
        "gateway.deadlines",
        "gateway.engine",
        "gateway.client",
        "gateway.settings",
        "gateway.telemetry",
        "gateway.traffic",
        "gateway.under_way",
    },
    {
        "gateway.access",
        "gateway.prompt",
        "gateway.stores",
        "gateway.usage_report",
        "gateway.triton",
        "gateway.workers",
    },
    {"gateway.output", "gateway.visit"},
    {"gateway.reception"},
    {"gateway.guides"},
    {"gateway.models", "gateway.reply"},
    {"gateway.http"},
    {"gateway.openai", "gateway.blueprints"},
    {"gateway.admin", "gateway.health", "gateway.keeper", "gateway.rpc", "gateway.web"},
    {"gateway.app", "gateway.keepers", "gateway.server"},
    {"gateway.reload"},
    {"gateway.operators"},
    {
        "gateway.admin_cli",
        "gateway.keys_cli",
        "gateway.usage_cli",
        "gateway.serve",
        "gateway.embedded",
        "gateway.render",
        "gateway.bench",
        "gateway.starter",
    },
    {"gateway.doctor"},
    {"gateway.launch"},
    {"gateway.cli"},
    {"gateway.__main__"},
)
PURE = (
    "gateway.traffic",
    "gateway.prompt",
    "gateway.output",
    "gateway.guides",
    "gateway.generation",
    "gateway.errors",
)
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def modules(package: str) -> list[str]:
    """Return the dotted names of all modules of a package."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in paths]


def imports(module: str) -> Iterator[str]:
    """Yield the dotted names that a module imports, anywhere in it."""
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            yield str(node.module)


def room(module: str) -> str:
    """Return the room a module of the gateway is in: its folder, or itself."""
    parts = [part for part in module.split(".") if part != "__init__"]
    return ".".join(parts[:2])


@pytest.mark.parametrize("module", modules("gateway"))
def test_imports_go_down(module: str) -> None:
    here = room(module)

    for imported in imports(module):
        if imported.split(".")[0] == "gateway" and room(imported) != here:
            assert FLOOR_OF[room(imported)] < FLOOR_OF[here], f"{module} imports {imported}"


@pytest.mark.parametrize("module", [m for m in modules("gateway") if room(m) in PURE])
def test_pure_rooms_know_no_transport(module: str) -> None:
    transports = {"fastapi", "starlette", "grpc", "tritonclient", "uvicorn", "aiohttp"}

    assert not transports & {imported.split(".")[0] for imported in imports(module)}


@pytest.mark.parametrize("module", modules("build_engine"))
def test_the_build_tool_knows_nothing_of_the_gateway(module: str) -> None:
    assert not any(imported.split(".")[0] == "gateway" for imported in imports(module))


def test_every_room_has_its_floor() -> None:
    assert {room(module) for module in modules("gateway")} <= FLOOR_OF.keys()


def test_serving_needs_none_of_the_heavy_packages() -> None:
    heavy = {"transformers", "huggingface_hub", "openvino", "torch", "aiohttp", "typer"}
    heavy |= {"build_engine", "pytriton", "requests", "httpx"}
    code = "import gateway.launch, gateway.serve, sys; print(*sys.modules)"

    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert not heavy & set(imported.stdout.decode().split())


def test_nothing_is_counted_before_the_workers_have_a_folder_for_it() -> None:
    code = "import gateway.cli, gateway.launch, sys; print(*sys.modules)"

    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert "prometheus_client" not in imported.stdout.decode().split()
