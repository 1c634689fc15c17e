"""What protos/ says is what the gateway speaks, and stays so for those who call it already."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
BUF = Path(sys.executable).with_name("buf")
STUBS = sorted(path.name for path in (ROOT / "gateway/v1").glob("*_pb2*"))


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stubs as `make protos` would write them now."""
    folder = tmp_path_factory.mktemp("stubs")
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    files = [str(path) for path in sorted(PROTOS.rglob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTOS}", *outputs]
    subprocess.run([*command, *files], check=True)
    return folder / "gateway" / "v1"


def buf(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BUF), *arguments],
        env={"BUF_CACHE_DIR": str(cache)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", STUBS)
def test_the_committed_stub_is_the_generated_one(name: str, generated: Path) -> None:
    assert (generated / name).read_text() == (ROOT / "gateway/v1" / name).read_text()


def test_every_proto_has_its_stubs(generated: Path) -> None:
    assert sorted(path.name for path in generated.iterdir()) == STUBS


def test_the_protos_are_linted_and_documented(tmp_path: Path) -> None:
    lint = buf("lint", str(PROTOS), cache=tmp_path)

    assert (lint.returncode, lint.stdout, lint.stderr) == (0, "", "")


def test_nothing_breaks_those_who_call_already(tmp_path: Path) -> None:
    breaking = buf("breaking", str(PROTOS), "--against", str(PROTOS / "api.binpb"), cache=tmp_path)

    assert (breaking.returncode, breaking.stdout, breaking.stderr) == (0, "", "")


def test_the_api_to_compare_with_is_this_one(tmp_path: Path) -> None:
    built = tmp_path / "api.binpb"

    buf("build", str(PROTOS), "--exclude-source-info", "-o", str(built), cache=tmp_path)

    assert built.read_bytes() == (PROTOS / "api.binpb").read_bytes()


BREAKS = [
    ("bool strict = 4;", "bool strict = 5;"),
    ("string regex = 4;", "bytes regex = 4;"),
    ("FINISH_REASON_STOP = 1;", "FINISH_REASON_ENDED = 1;"),
    ("repeated string stop = 3;", "string stop = 3;"),
]


@pytest.mark.parametrize(("old", "new"), BREAKS, ids=[new for _, new in BREAKS])
def test_a_breaking_change_is_caught(old: str, new: str, tmp_path: Path) -> None:
    for path in (PROTOS / "buf.yaml", *PROTOS.rglob("*.proto")):
        copy = tmp_path / path.relative_to(PROTOS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text().replace(old, new))

    breaking = buf(
        "breaking", str(tmp_path), "--against", str(PROTOS / "api.binpb"), cache=tmp_path / ".c"
    )

    assert breaking.returncode == 100
    assert "generation.proto" in breaking.stdout
