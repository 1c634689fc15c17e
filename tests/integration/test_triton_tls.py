"""Generations over TLS on a real tritonserver: trusted or not, with a certificate or without."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from build_engine.repository import Repository, RepositorySpec, build
from gateway.blueprints import load_blueprint
from gateway.embedded.tritonserver import TritonServer
from gateway.errors import EngineUnavailable
from gateway.generation import Delta, Generation, Prompt
from gateway.settings import (
    ModelSettings,
    Settings,
    SettingsError,
    TlsSettings,
    TritonSettings,
    load_models_file,
)
from gateway.triton.channel import TransportName
from tests.certificates import sign
from tests.engines import probed_for

SCRIPT = {"answers": [{"contains": "", "answer": "one two three"}]}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sign(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = tmp_path_factory.mktemp("tls")
    script = folder / "script.json"
    script.write_text(json.dumps(SCRIPT))
    return build(RepositorySpec("simulated", folder / "repository", script=script))


@pytest.fixture(scope="module")
def triton(
    repository: Repository, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """A tritonserver that asks its clients for certificates."""
    arguments = (
        "--grpc-use-ssl=true",
        "--grpc-use-ssl-mutual=true",
        f"--grpc-server-cert={certificates / 'server.crt'}",
        f"--grpc-server-key={certificates / 'server.key'}",
        f"--grpc-root-cert={certificates / 'ca.crt'}",
    )
    log_file = tmp_path_factory.mktemp("log") / "triton.log"
    with TritonServer(repository.path, log_file=log_file, arguments=arguments) as server:
        server.wait_ready(60)
        yield server


def settings(repository: Repository, address: str, tls: TlsSettings | None) -> ModelSettings:
    triton = TritonSettings(address=address, tls=tls)
    return ModelSettings(id="m", tokenizer=repository.tokenizer_dir, triton=triton)


def known(certificates: Path) -> TlsSettings:
    return TlsSettings(
        ca=certificates / "ca.crt",
        cert=certificates / "client.crt",
        key=certificates / "client.key",
    )


@pytest.mark.parametrize("transport", get_args(TransportName))
async def test_a_generation_is_encrypted_with_certificates_on_both_sides(
    triton: TritonServer, repository: Repository, certificates: Path, transport: TransportName
) -> None:
    one = settings(repository, triton.grpc_address, known(certificates))
    blueprint = load_blueprint(one, Settings(transport=transport))
    engine = await probed_for(blueprint)
    prompt = Prompt(tuple(blueprint.tokenizer.encode("Count.")), "Count.")

    try:
        items = [item async for item in engine.generate(Generation(prompt, max_tokens=3))]
    finally:
        await engine.close()

    gained = [token for item in items if isinstance(item, Delta) for token in item.token_ids]
    assert blueprint.tokenizer.decode(gained) == "one two three"


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(
            {"cert": "client.crt", "key": "client.key"}, id="an authority that is not known"
        ),
        pytest.param({"ca": "ca.crt"}, id="no certificate of our own"),
        pytest.param(None, id="no encryption"),
    ],
)
async def test_a_triton_that_cannot_be_trusted_or_does_not_trust_us_is_unavailable(
    triton: TritonServer,
    repository: Repository,
    certificates: Path,
    given: dict[str, str] | None,
) -> None:
    paths = {name: certificates / file for name, file in (given or {}).items()}
    tls = None if given is None else TlsSettings(**paths)
    blueprint = load_blueprint(settings(repository, triton.grpc_address, tls), Settings())

    with pytest.raises(EngineUnavailable):
        await probed_for(blueprint)


@pytest.mark.parametrize(
    ("tls", "complaint"),
    [
        pytest.param({"ca": "missing.crt"}, "No such file", id="no such file"),
        pytest.param({"ca": "garbage.crt"}, "garbage.crt", id="no certificate in it"),
        pytest.param({"cert": "client.crt"}, "go together", id="a certificate without its key"),
    ],
)
def test_files_that_cannot_be_used_are_told_at_the_start(
    repository: Repository, certificates: Path, tls: dict[str, str], complaint: str
) -> None:
    (certificates / "garbage.crt").write_text("nothing")
    paths = {name: certificates / file for name, file in tls.items()}
    one = settings(repository, "127.0.0.1:1", TlsSettings(**paths))

    with pytest.raises(SettingsError, match=complaint):
        load_blueprint(one, Settings())


def test_paths_in_a_models_file_are_relative_to_it(tmp_path: Path) -> None:
    model = {"id": "m", "tokenizer": "t", "triton": {"tls": {"ca": "ca.crt"}}}
    file = tmp_path / "models.yaml"
    file.write_text(json.dumps({"models": [model]}))

    [loaded] = load_models_file(file).models

    assert loaded.triton.tls == TlsSettings(ca=tmp_path.resolve() / "ca.crt")
