"""The wheel alone, outside the clone: installed, started, asked; and how large it is."""

import subprocess
import sysconfig
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.conftest import Figure
from tests.e2e.conftest import start_stack, stop_stack

ROOT = Path(__file__).parents[2]
OURS = ("triton_openai_gateway", "gateway", "build_engine")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    [built] = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A virtual environment with the wheel, and by link with what it depends on; no clone."""
    folder = tmp_path_factory.mktemp("outside") / "venv"
    venv.create(folder)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith(OURS) and entry.suffix != ".pth":  # pip writes through links
            (packages / entry.name).symlink_to(entry)
    install = ["install", "--quiet", "--no-deps", "--disable-pip-version-check", str(wheel)]
    subprocess.run([folder / "bin/python", "-m", "pip", *install], check=True)
    yield folder


def test_it_is_the_wheel_that_runs(environment: Path, tmp_path: Path) -> None:
    code = "import gateway, build_engine; print(gateway.__file__, build_engine.__file__)"

    ran = subprocess.run(
        [environment / "bin/python", "-c", code], cwd=tmp_path, capture_output=True, check=True
    )

    for path in ran.stdout.decode().split():
        assert Path(path).is_relative_to(environment)


def test_one_command_brings_up_a_stack_with_its_page(
    environment: Path, wheel: Path, tmp_path: Path, figure: Figure
) -> None:
    started = time.perf_counter()
    stack = start_stack(tmp_path, "--engine=simulated", program=[str(environment / "bin/gateway")])
    try:
        body = {
            "model": stack.model,
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 1,
        }
        answer = httpx.post(f"{stack.url}/v1/chat/completions", json=body)
        seconds = time.perf_counter() - started
        page = httpx.get(stack.url)
    finally:
        stop_stack(stack)

    assert answer.json()["usage"]["completion_tokens"] == 1
    assert "<title>Chat</title>" in page.text
    figure(
        f"the wheel has {wheel.stat().st_size / 2**20:.2f} MiB; from `gateway up` to a first "
        f"token out of the simulator it takes {seconds:.1f} s"
    )
