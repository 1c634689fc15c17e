"""docker-compose.yml is valid Compose, and says nothing that the code does not do."""

import json
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from typer.testing import CliRunner

from build_engine.cli import app as build_engine
from build_engine.production import Place, gateway_file
from build_engine.spec import load_spec
from build_engine.versions import NEWEST
from gateway.cli import app as gateway
from gateway.health import health_routes
from gateway.models import Models
from gateway.settings import Settings

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
    written = yaml.safe_load(
        gateway_file(spec, Place(Path("/engines"), address), Path("/tokenizer"))
    )
    host, port = written["models"][0]["triton"]["address"].split(":")
    assert host in SERVICES
    assert port in SERVICES[host]["expose"]


def test_what_builds_an_engine_also_serves_it() -> None:
    image = SERVICES["triton"]["image"]
    assert _DEFAULTED.sub(r"\2", image) == NEWEST.container
    assert SERVICES["build"]["build"]["args"]["TRITON"] == image
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
    mounts = {
        _DEFAULTED.sub(r"\2", mount) for facts in SERVICES.values() for mount in facts["volumes"]
    }
    used = {mount.split(":")[0] for mount in mounts if not mount.startswith("./")}
    folders = [ROOT / mount.split(":")[0] for mount in mounts if mount.startswith("./")]

    assert folders
    assert all(folder.is_dir() for folder in folders)
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


@pytest.mark.parametrize("name", ["llama-3.1-8b-h100-fp8", "llama-3.1-405b-fp8-tp8"])
def test_the_image_follows_the_spec(name: str) -> None:
    older = ["container", "llama-3-8b-a100-fp16", "--tensorrt-llm", "0.16.0"]

    printed = CliRunner().invoke(build_engine, ["container", name]).stdout.strip()

    assert printed == load_spec(name).release.container
    assert "24.12" in CliRunner().invoke(build_engine, older).stdout


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_may_do_more_than_it_must(service: str) -> None:
    facts = SERVICES[service]

    assert facts["cap_drop"] == ["ALL"]
    assert facts["security_opt"] == ["no-new-privileges:true"]
    assert (facts["init"], facts["read_only"], facts["tmpfs"]) == (True, True, ["/tmp"])
    assert facts["environment"]["HOME"] == "/tmp"


def test_no_service_runs_as_root() -> None:
    stages = re.split(r"^FROM .* AS ", DOCKERFILE, flags=re.MULTILINE)[1:]
    users = {stage.split()[0]: re.findall(r"^USER (\S+)", stage, re.MULTILINE) for stage in stages}

    for service, facts in SERVICES.items():
        user = facts.get("user") or users[facts["build"]["target"]][-1]
        assert user.split(":")[0] in ("gateway", "1000"), service


def test_what_a_service_writes_is_its_own(tmp_path: Path) -> None:
    folders = re.findall(r"install --directory --owner=1000 --group=1000 (.*)", DOCKERFILE)

    written = {m.split(":")[1] for m in SERVICES["build"]["volumes"]}
    assert set(folders[0].split()) == written
    assert all(m.endswith(":ro") for m in SERVICES["triton"]["volumes"])
    assert all(m.endswith(":ro") for m in SERVICES["gateway"]["volumes"])


def test_the_token_is_a_file_that_the_hub_reads_and_no_variable(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_secret\n")
    program = "import huggingface_hub; print(huggingface_hub.get_token())"
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))
    }

    found = {
        name: subprocess.run(
            [sys.executable, "-c", program],
            env={**environment, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN_PATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for name, path in (("given", str(tmp_path / "token")), ("not given", "/dev/null"))
    }

    assert found == {"given": "hf_secret", "not given": "None"}
    assert SERVICES["build"]["environment"]["HF_TOKEN_PATH"] == "/run/secrets/hf_token"
    assert "HF_TOKEN" not in SERVICES["build"]["environment"]
    assert COMPOSE["secrets"] == {"hf_token": {"file": "${HF_TOKEN_FILE:-/dev/null}"}}


def test_engines_may_take_long_to_load_and_answers_to_end() -> None:
    triton = SERVICES["triton"]

    assert triton["healthcheck"]["start_period"] == "${START_PERIOD:-2h}"
    assert "--exit-timeout-secs=60" in triton["command"]
    assert triton["stop_grace_period"] == "90s"
    grace = int(SERVICES["gateway"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings().drain_s


def test_the_image_gets_all_that_the_wheel_is_made_of() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    [licences] = re.findall(r"^license-files = (.*)$", project, re.MULTILINE)

    copied = {
        word for line in DOCKERFILE.splitlines() if line[:5] == "COPY " for word in line.split()
    }

    assert {"pyproject.toml", "README.md", *json.loads(licences)} <= copied
    assert {"gateway", "build_engine", "model_repository"} <= copied
