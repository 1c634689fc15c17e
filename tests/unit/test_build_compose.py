"""docker-compose.yml is valid Compose, and says nothing that the code does not do."""

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from build_engine.cli import app as build_engine
from build_engine.production import Place, gateway_file
from build_engine.spec import load_spec
from build_engine.versions import NEWEST
from gateway.cli import app as gateway
from gateway.health import health_routes
from gateway.models import Models

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
_DEFAULTED = re.compile(r"\$\{(\w+):-([^}]*)\}")
PROGRAMS = {"build": build_engine, "gateway": gateway, "embedded": gateway}


def words(service: str) -> list[str]:
    """A service's command as Compose fills it in where nothing is set."""
    return [_DEFAULTED.sub(r"\2", word) for word in SERVICES[service]["command"]]


def parsed(service: str) -> dict[str, Any]:
    """The values that a service's command line gives to the parameters of the code."""
    group: Any = typer.main.get_command(PROGRAMS[service])
    name, *arguments = words(service)
    values: dict[str, Any] = group.commands[name].make_context(name, arguments).params
    return values


@pytest.fixture
def schema() -> Any:
    """A validator of the Compose specification, as check-jsonschema carries it."""
    pytest.importorskip("check_jsonschema")
    folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    content = json.loads((folder / "compose-spec.json").read_text(encoding="utf-8"))
    return jsonschema.validators.validator_for(content)(content)


def test_the_file_is_valid_by_the_schema_of_the_compose_specification(schema: Any) -> None:
    schema.validate(COMPOSE)


def test_the_schema_would_see_a_misspelt_key(schema: Any) -> None:
    misspelt = {"services": {"a": {"image": "b", "shm_sise": "1gb"}}}

    assert not schema.is_valid(misspelt)


@pytest.mark.parametrize("service", PROGRAMS)
def test_a_command_line_is_one_that_the_program_takes(service: str) -> None:
    assert parsed(service)


def test_the_engine_is_served_where_it_is_built() -> None:
    built = Path(parsed("build")["output"])

    assert f"--model-repository={built}/repository" in words("triton")
    assert parsed("gateway")["models"] == built / "repository" / "gateway.yaml"
    mounts = {service: SERVICES[service]["volumes"] for service in ("build", "triton", "gateway")}
    assert all(any(m.startswith("engines:/engines") for m in v) for v in mounts.values())


def test_the_gateway_is_told_the_name_and_port_that_triton_has() -> None:
    address = parsed("build")["triton"]

    spec = load_spec(parsed("build")["spec"])
    written = yaml.safe_load(gateway_file(spec, Place(Path("/engines"), address)))
    host, port = written["models"][0]["triton"]["address"].split(":")
    assert host in SERVICES
    assert port in SERVICES[host]["expose"]


def test_what_builds_an_engine_also_serves_it() -> None:
    assert SERVICES["triton"]["image"] == NEWEST.container
    assert f"ARG TRITON={NEWEST.container}\n" in DOCKERFILE
    assert load_spec(parsed("build")["spec"]).release is NEWEST


@pytest.mark.parametrize("service", ["gateway", "embedded"])
def test_published_ports_are_those_listened_on_and_only_for_this_machine(service: str) -> None:
    (published,) = SERVICES[service]["ports"]

    assert published == f"127.0.0.1:8080:{parsed(service)['http_port']}"


@pytest.mark.parametrize("service", ["gateway", "embedded"])
def test_health_checks_ask_a_route_that_there_is(service: str) -> None:
    (url,) = re.findall(r"http://127\.0\.0\.1:8080(/[\w/]+)", str(SERVICES[service]["healthcheck"]))

    assert url in {getattr(route, "path", "") for route in health_routes(Models()).routes}


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_one_profile_and_an_image_or_a_target_to_build(service: str) -> None:
    facts = SERVICES[service]

    assert facts["profiles"] in (["gpu"], ["cpu"])
    if "build" in facts:
        assert f" AS {facts['build']['target']}\n" in DOCKERFILE
        assert (ROOT / facts["build"]["dockerfile"]).is_file()


def test_volumes_are_declared_and_dependencies_are_services() -> None:
    used = {mount.split(":")[0] for facts in SERVICES.values() for mount in facts["volumes"]}

    assert used == COMPOSE["volumes"].keys()
    assert {"build", "triton"} == {
        name for facts in SERVICES.values() for name in facts.get("depends_on", {})
    }


def test_what_the_dockerfile_copies_is_there() -> None:
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]

    assert "requirements/runtime.txt" in sources
    assert all((ROOT / source).exists() for source in sources)


def test_the_images_get_the_tested_versions() -> None:
    locked, runtime = (
        set(re.findall(r"^[\w.\[\]-]+==\S+", (ROOT / "requirements" / name).read_text(), re.M))
        for name in ("lock.txt", "runtime.txt")
    )

    assert runtime <= locked
    assert any(name.startswith("fastapi==") for name in runtime)
    assert not any(name.startswith("pytest==") for name in runtime)
