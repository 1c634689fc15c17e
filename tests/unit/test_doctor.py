"""What keeps a gateway from serving is made for real, and the doctor finds and names it."""

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from typer.testing import CliRunner

from gateway.cli import app
from gateway.doctor.certificates import authorities, own_certificate
from gateway.doctor.finding import Finding, State, odd, wrong
from gateway.doctor.machine import clock, examine_environment, examine_ports
from gateway.doctor.models import examine_model
from gateway.doctor.report import as_lines
from gateway.doctor.stores import examine_stores
from gateway.settings import ModelSettings, Settings, TlsSettings, TritonSettings
from tests.certificates import sign
from tests.fakes import tiny_tokenizer
from tests.serving import gateway_process, port_of
from tests.tritons import Outcome, ScriptedTriton, standing


@dataclass
class Ailing(ScriptedTriton):
    """A Triton that can lack its model, or call it unready."""

    ailment: str = ""

    def service(self, call: Any) -> Any:
        ailing = {
            ("no model", "ModelConfig"): self._lack,
            ("not ready", "ModelReady"): self._refuse,
        }.get((self.ailment, call.method.rpartition("/")[2]))
        return grpc.unary_unary_rpc_method_handler(ailing) if ailing else super().service(call)

    async def _lack(self, _: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "Request for unknown model")

    async def _refuse(self, _: bytes, __: Any) -> bytes:
        return bytes(pb.ModelReadyResponse(ready=False).SerializeToString())


def model(address: str = "127.0.0.1:1", **fields: Any) -> ModelSettings:
    fields = {"tokenizer": tiny_tokenizer(), **fields}
    return ModelSettings(id="tiny", triton=TritonSettings(address=address), **fields)


async def found(settings: ModelSettings) -> list[Finding]:
    """Return what is found of a model, but for what is fine."""
    findings = [finding async for finding in examine_model(settings, Settings())]
    return [finding for finding in findings if finding.state is not State.FINE]


async def test_nothing_is_found_where_all_is_well() -> None:
    triton = Ailing()
    async with standing(triton):
        assert await found(model(triton.address)) == []


@pytest.mark.parametrize(
    ("triton", "told"),
    [
        (Ailing(ailment="no model"), "Request for unknown model"),
        (Ailing(ailment="not ready"), "is not ready"),
        (Ailing([Outcome(error="CUDA error")]), "its engine is broken"),
    ],
    ids=["no model", "not ready", "broken"],
)
async def test_what_ails_a_triton_is_told(triton: Ailing, told: str) -> None:
    async with standing(triton):
        [finding] = await found(model(triton.address))

    assert finding.is_wrong
    assert told in finding.told
    assert finding.advice


async def test_a_contract_that_cannot_be_used_is_told_by_its_tensor() -> None:
    triton = Ailing(inputs={"input_ids", "input_lengths", "streaming"})
    async with standing(triton):
        [finding] = await found(model(triton.address))

    assert "'request_output_len'" in finding.told


async def test_a_triton_that_is_not_there_is_told_by_its_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        [finding] = await found(model(address))

    assert f"nothing answers at {address}" in finding.told


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tokenizer": Path("/nowhere")}, "/nowhere"),
        ({"template": "llama-9"}, "there is no chat template 'llama-9'"),
    ],
    ids=["tokenizer", "template"],
)
async def test_a_model_that_cannot_be_loaded_is_told(fields: dict[str, Any], told: str) -> None:
    [finding] = await found(model(**fields))

    assert finding.is_wrong
    assert told in finding.told


async def test_a_tokenizer_of_another_engine_is_told_by_both_sizes(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tensorrt_llm/tokenizer"
    tokenizer.mkdir(parents=True)
    for file in tiny_tokenizer().iterdir():
        (tokenizer / file.name).write_bytes(file.read_bytes())
    engine = tmp_path / "tensorrt_llm/1"
    engine.mkdir()
    (engine / "config.json").write_text('{"pretrained_config": {"vocab_size": 128256}}')

    [finding, _] = await found(model(tokenizer=tokenizer))

    assert "has 258 tokens" in finding.told
    assert "128,256" in finding.told


@pytest.mark.parametrize("place", ["HTTP port", "gRPC port"])
def test_a_port_that_is_taken_is_told_with_the_option_for_another(place: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        ports = {"port": 0, "grpc_port": 0} | {
            "port" if place == "HTTP port" else "grpc_port": number
        }
        findings = {one.place: one for one in examine_ports(Settings(**ports))}

    assert findings[place].is_wrong
    assert str(number) in findings[place].told
    assert f"--{place.split()[0].lower()}-port {number + 1}" in findings[place].advice


def test_a_gateway_that_serves_already_is_known() -> None:
    with gateway_process() as running:
        first, _ = examine_ports(Settings(port=port_of(running.url), grpc_port=0))

    assert first.state is State.ODD
    assert "a gateway serves there" in first.told


def test_a_setting_that_is_misspelt_is_told_with_what_may_be_meant() -> None:
    environment = {"GATEWAY_PROT": "1", "GATEWAY_PORT": "8080", "PATH": "/bin"}

    [finding] = examine_environment(environment)

    assert finding.told == "GATEWAY_PROT is no setting and is ignored"
    assert "GATEWAY_PORT" in finding.advice


def test_a_clock_that_is_years_behind_is_told(tmp_path: Path) -> None:
    module = tmp_path / "a.py"
    module.touch()
    os.utime(module, (time.time() + 3 * 86_400, time.time() + 3 * 86_400))

    finding = clock(tmp_path, time.time())

    assert finding.is_wrong
    assert "3 days before" in finding.told


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = sign(tmp_path_factory.mktemp("certificates"))
    for name, days in (("expired", "-1"), ("soon", "3")):
        command = f"x509 -req -in server.csr -signkey server.key -days {days} -out {name}.crt"
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    (folder / "garbage.crt").write_text("no certificate")
    return folder


@pytest.mark.parametrize(
    ("chain", "key", "state", "told"),
    [
        ("server.crt", "server.key", State.FINE, "is valid until"),
        ("expired.crt", "server.key", State.WRONG, "certificate has expired"),
        ("soon.crt", "server.key", State.ODD, "certificate expires soon"),
        ("server.crt", "client.key", State.WRONG, "key values mismatch"),
        ("garbage.crt", "server.key", State.WRONG, "garbage.crt"),
        ("nowhere.crt", "server.key", State.WRONG, "No such file"),
    ],
)
def test_a_certificate_of_our_own_is_tried(
    certificates: Path, chain: str, key: str, state: State, told: str
) -> None:
    finding = own_certificate("TLS", certificates / chain, certificates / key)

    assert finding.state is state, finding
    assert told.lower() in finding.told.lower()


@pytest.mark.parametrize(
    ("file", "state"),
    [("ca.crt", State.FINE), ("garbage.crt", State.WRONG), ("nowhere.crt", State.WRONG)],
)
def test_an_authority_is_read(certificates: Path, file: str, state: State) -> None:
    [finding] = authorities("TLS", certificates / file)

    assert finding.state is state


async def test_what_tls_to_triton_needs_is_tried_too(certificates: Path) -> None:
    tls = TlsSettings(
        ca=certificates / "ca.crt",
        cert=certificates / "expired.crt",
        key=certificates / "server.key",
    )
    settings = model()
    triton = settings.triton.model_copy(update={"tls": tls})

    findings = await found(settings.model_copy(update={"triton": triton}))

    assert "certificate has expired" in findings[0].told


def test_too_few_open_files_are_told_by_the_command(tmp_path: Path) -> None:
    command = f'ulimit -n 400; exec "{sys.executable}" -m gateway doctor --json'

    ended = subprocess.run(
        ["bash", "-c", f"{command} --http-port 0 --grpc-port 0"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )

    [finding] = [one for one in json.loads(ended.stdout) if one["place"] == "open files"]
    assert finding["state"] == "odd"
    assert finding["told"].startswith("400 allowed")
    assert "LimitNOFILE" in finding["advice"]


def test_the_command_tells_a_models_file_that_is_wrong_and_ends_with_1(tmp_path: Path) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("models: [{id: a, tokeniser: b}]")

    result = CliRunner().invoke(
        app, ["doctor", f"--models={file}", "--http-port=0", "--grpc-port=0"]
    )

    assert result.exit_code == 1
    assert "WRONG models file:" in result.output
    assert "1 to mend before it can serve" in result.output


def test_findings_are_folded_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    findings = [wrong("port", "it is taken " * 20, "take another"), odd("x", "y", "z " * 80)]

    lines = as_lines(findings).splitlines()

    assert max(map(len, lines)) <= 60
    assert "      to do: take another" in lines


@pytest.mark.parametrize(
    ("settings", "place", "told"),
    [
        ({"keys_file": Path("/dev/null/keys.yaml")}, "keys", "/dev/null/keys.yaml"),
        ({"host": "192.0.2.1"}, "keys", "no keys are set"),
        ({"redis": "http://127.0.0.1"}, "Redis", "no URL of Redis"),
        ({"redis": "redis://127.0.0.1:1/0"}, "Redis", "ConnectionError"),
        ({"usage": "mysql://x"}, "usage", "GATEWAY_USAGE is none of"),
        ({"usage": "sqlite", "state_dir": Path("/dev/null")}, "usage", "/dev/null"),
        ({"usage": "postgresql://127.0.0.1:1/x"}, "usage", ""),
    ],
    ids=["keys lost", "no keys", "no Redis's URL", "no Redis", "usage", "no folder", "no database"],
)
async def test_what_is_kept_elsewhere_and_cannot_be_used_is_told(
    settings: dict[str, Any], place: str, told: str
) -> None:
    *_, finding = [one async for one in examine_stores(Settings(**settings))]

    assert (finding.place, finding.is_wrong) == (place, True)
    assert told in finding.told
    assert finding.advice


async def test_usage_that_can_be_kept_is_fine(tmp_path: Path) -> None:
    settings = Settings(usage="sqlite", state_dir=tmp_path)

    findings = [one async for one in examine_stores(settings)]

    assert [one.state for one in findings] == [State.FINE, State.FINE]
