"""The whole build with stand-in tools and a stand-in hub: what is lost when something goes wrong.

TensorRT-LLM itself is not run here; see tests/stand_ins.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from build_engine.calibration import digest
from build_engine.commands import Toolbox
from build_engine.errors import BuildError
from build_engine.pipeline import Build
from build_engine.production import Place
from build_engine.schedule import STAGES, Choice, run_build
from build_engine.spec import dump_spec, load_spec
from tests.stand_ins.hub import Hub, serving
from tests.stand_ins.model import write_model
from tests.stand_ins.toolchain import Toolchain, finish

SPEC = load_spec("llama-3.2-1b").replaced(serving={"guided_decoding": "none"})


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, SPEC.shape)
    return folder


@pytest.fixture
def hub(model_folder: Path) -> Iterator[Hub]:
    with serving(Hub(SPEC.model.id, SPEC.model.revision, model_folder)) as hub:
        yield hub


@pytest.fixture
def tools(hub: Hub, tmp_path: Path) -> Iterator[Toolchain]:
    toolchain = Toolchain(tmp_path / "container", hub.url)
    toolchain.install("1.2.1")
    yield toolchain
    toolchain.stop()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(SPEC))
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "engine"


def done_before(result: "subprocess.CompletedProcess[str]") -> list[str]:
    return [line.split(":")[0] for line in result.stderr.splitlines() if "done before" in line]


def made_now(result: "subprocess.CompletedProcess[str]") -> list[str]:
    return [line.split(":")[0] for line in result.stderr.splitlines() if ": done in" in line]


def wait_for(condition: Callable[[], object], patience_s: float = 90) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_behind(output: Path) -> list[str]:
    return [path.name for path in (output / "stages").glob(".*")]


def test_a_build_goes_all_the_way_and_its_repetition_does_nothing(
    tools: Toolchain, spec: Path, output: Path, hub: Hub
) -> None:
    first, second = (tools.build(spec, output) for _ in range(2))

    assert first.returncode == 0, first.stderr
    assert made_now(first) == [*STAGES]
    assert done_before(second) == [*STAGES[:4]]
    assert "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3" in first.stdout
    assert sorted(hub.fetched) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    engine = json.loads((output / "repository/tensorrt_llm/1/config.json").read_text())
    assert engine["version"] == "1.2.1"
    logs = sorted(path.name.split("-")[0] for path in (output / "logs").iterdir())
    assert logs == ["compile", "convert"]


@pytest.mark.parametrize("number", ["0.16.0", "1.0.0"])
def test_older_releases_take_the_arguments_they_are_given(
    tools: Toolchain, spec: Path, output: Path, number: str
) -> None:
    tools.install(number)

    result = tools.build(spec, output, "--tensorrt-llm", number)

    assert result.returncode == 0, result.stderr
    assert made_now(result) == [*STAGES]


@pytest.mark.parametrize("tool", ["convert_checkpoint", "trtllm-build"])
def test_a_build_killed_in_a_tool_goes_on_where_it_stopped(
    tools: Toolchain, spec: Path, output: Path, tool: str
) -> None:
    process = tools.start(*tools.arguments(spec, output), STAND_IN_FAULT=f"pause:{tool}")
    wait_for(lambda: list(output.glob("stages/.*/half-written")))

    process.send_signal(signal.SIGKILL)
    finish(process)
    survivors = left_behind(output)
    result = tools.build(spec, output)

    assert survivors
    assert result.returncode == 0, result.stderr
    stopped_at = STAGES.index("convert" if tool == "convert_checkpoint" else "compile")
    assert done_before(result) == [*STAGES[:stopped_at]]
    assert left_behind(output) == []
    assert not list(output.rglob("half-written"))


def test_the_tool_of_a_killed_build_does_not_live_on(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    process = tools.start(*tools.arguments(spec, output), STAND_IN_FAULT="pause:convert_checkpoint")
    wait_for(lambda: list(output.glob("stages/.*/half-written")))

    process.send_signal(signal.SIGKILL)
    finish(process)

    def running() -> bool:
        return any(str(output).encode() in _command_line(pid) for pid in os.listdir("/proc"))

    wait_for(lambda: not running())


def _command_line(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return b""


def test_a_download_killed_halfway_goes_on_where_it_stopped(
    tools: Toolchain, spec: Path, output: Path, hub: Hub
) -> None:
    hub.mood = "stalling"
    process = tools.start(*tools.arguments(spec, output))
    partial = Path(tools.environment()["HF_HOME"])
    wait_for(lambda: any(p.stat().st_size > 9_000_000 for p in partial.rglob("*.partial")))

    process.send_signal(signal.SIGKILL)
    finish(process)
    hub.mood = "well"
    hub.stalled.set()
    result = tools.build(spec, output)

    assert result.returncode == 0, result.stderr
    assert any(int(wanted.split("=")[1].split("-")[0]) > 9_000_000 for wanted in hub.ranges)


HASHING = {
    "repository": ".repository.building/tensorrt_llm/1/rank0.engine",
    "verify": "repository/manifest.json",
}


@pytest.mark.parametrize("stage", HASHING)
def test_a_build_killed_after_its_engine_was_made_goes_on_from_there(
    tools: Toolchain, spec: Path, output: Path, stage: str
) -> None:
    process = tools.start(*tools.arguments(spec, output), STAND_IN_FAULT="large:trtllm-build")
    wait_for((output / HASHING[stage]).exists)

    process.send_signal(signal.SIGKILL)
    killed = finish(process)
    result = tools.build(spec, output)

    assert killed.returncode == -signal.SIGKILL
    assert result.returncode == 0, result.stderr
    assert made_now(result) == [*STAGES[STAGES.index(stage) :]]
    assert sorted(path.name for path in output.iterdir()) == ["logs", "repository", "stages"]


def test_a_finished_repository_needs_its_stages_no_more(
    tools: Toolchain, spec: Path, output: Path, hub: Hub
) -> None:
    assert tools.build(spec, output).returncode == 0
    shutil.rmtree(output / "stages")
    hub.mood = "down"

    result = tools.build(spec, output)

    assert result.returncode == 0, result.stderr
    assert made_now(result) == ["verify"]


def test_a_full_disk_is_told_with_the_end_of_the_log_and_costs_nothing_done(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    failed = tools.build(spec, output, STAND_IN_FAULT="full-disk:trtllm-build")
    again = tools.build(spec, output)

    assert failed.returncode == 1
    assert "No space left on device" in failed.stderr
    assert "free some disk space, then run the same command again" in failed.stderr
    assert f"{output}/logs/" in failed.stderr
    assert again.returncode == 0, again.stderr
    assert done_before(again) == ["download", "convert"]


def test_a_gpu_that_is_full_is_told_with_what_to_lower(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    failed = tools.build(spec, output, STAND_IN_FAULT="out-of-memory:trtllm-build")

    assert failed.returncode == 1
    assert "lower limits.max_num_tokens" in failed.stderr


def test_a_tool_that_ends_well_but_leaves_too_little_is_not_believed(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    failed = tools.build(spec, output, STAND_IN_FAULT="wrong-output:trtllm-build")

    assert failed.returncode == 1
    assert "missing or empty: world_size is 1" in failed.stderr
    assert left_behind(output) == []


def test_a_download_that_arrives_damaged_once_is_fetched_again(
    tools: Toolchain, spec: Path, output: Path, hub: Hub
) -> None:
    hub.mood = "corrupt once"

    result = tools.build(spec, output)

    assert result.returncode == 0, result.stderr
    assert hub.fetched.count("model.safetensors") == 2


def test_a_download_that_stays_damaged_is_refused_and_not_kept(
    tools: Toolchain, spec: Path, output: Path, hub: Hub
) -> None:
    hub.mood = "corrupt"
    failed = tools.build(spec, output)
    hub.mood = "well"
    again = tools.build(spec, output)

    assert failed.returncode == 1
    assert "model.safetensors arrived with another content" in failed.stderr
    assert again.returncode == 0, again.stderr


REFUSALS = {
    "gated": "accept its licence at https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct",
    "missing": "is not there, or not for this token",
    "down": "What has arrived is kept: run the same command again",
}


@pytest.mark.parametrize("mood", REFUSALS)
def test_a_hub_that_refuses_is_told_with_what_to_do_and_without_the_token(
    tools: Toolchain, spec: Path, output: Path, hub: Hub, mood: str
) -> None:
    hub.mood = mood

    failed = tools.build(spec, output, HF_TOKEN="hf_secret_of_mine")

    assert failed.returncode == 1
    assert REFUSALS[mood] in failed.stderr
    assert "hf_secret_of_mine" not in failed.stdout + failed.stderr
    assert "Bearer hf_secret_of_mine" in hub.authorizations


def test_the_token_is_not_handed_to_the_tools(tools: Toolchain, spec: Path, output: Path) -> None:
    leak = Path(tools.folder, "bin", "trtllm-build")
    leak.write_text('#!/bin/sh\necho "token: <${HF_TOKEN}>"\nexit 1\n')

    failed = tools.build(spec, output, HF_TOKEN="hf_secret_of_mine")

    assert "token: <>" in failed.stderr


def test_another_version_than_the_spec_names_is_told_before_anything_is_fetched(
    tools: Toolchain, spec: Path, output: Path, hub: Hub
) -> None:
    tools.install("1.1.0")

    failed = tools.build(spec, output)

    assert failed.returncode == 1
    assert "TensorRT-LLM 1.1.0 is installed here, but the spec names 1.2.1" in failed.stderr
    assert "tritonserver:26.07-trtllm-python-py3" in failed.stderr
    assert hub.fetched == []


def test_a_checkpoint_of_another_version_is_not_compiled(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    tools.install("1.1.0")
    assert tools.build(spec, output, "--tensorrt-llm", "1.1.0").returncode == 0
    tools.install("1.2.1")

    failed = tools.build(spec, output, "--stage", "compile")

    assert failed.returncode == 1
    assert "convert, which is not done here for TensorRT-LLM 1.2.1" in failed.stderr
    assert "there is one of 1.1.0" in failed.stderr


def test_a_machine_without_tensorrt_llm_is_sent_to_the_container(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    (metadata,) = (tools.folder / "site").glob("*/METADATA")
    metadata.unlink()
    metadata.parent.rmdir()

    failed = tools.build(spec, output)

    assert "TensorRT-LLM is not installed for python3 here" in failed.stderr


def test_a_second_build_in_the_same_folder_is_turned_away(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    first = tools.start(*tools.arguments(spec, output), STAND_IN_FAULT="pause:convert_checkpoint")
    wait_for(lambda: list(output.glob("stages/.*/half-written")))

    second = tools.build(spec, output)
    first.send_signal(signal.SIGKILL)
    finish(first)

    assert second.returncode == 1
    assert f"another build is at work in {output}" in second.stderr


def test_stages_can_be_run_alone_and_from_one_on(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    assert made_now(tools.build(spec, output, "--stage", "download")) == ["download"]
    assert made_now(tools.build(spec, output)) == [*STAGES[1:]]

    assert made_now(tools.build(spec, output, "--from", "compile")) == [*STAGES[2:]]


def test_a_dry_run_shows_commands_and_touches_nothing(
    tools: Toolchain, spec: Path, output: Path, hub: Hub
) -> None:
    result = tools.build(spec, output, "--dry-run")

    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [*STAGES[:3]]
    assert "--checkpoint_dir" in result.stdout
    assert not output.exists()
    assert hub.fetched == []


def test_only_what_a_change_touches_is_made_again(
    tools: Toolchain, spec: Path, output: Path
) -> None:
    assert tools.build(spec, output).returncode == 0
    limits = SPEC.limits.model_dump() | {"max_batch_size": 32}
    spec.write_text(dump_spec(SPEC.replaced(limits=limits)))

    assert done_before(tools.build(spec, output)) == ["download", "convert"]

    serving_part = SPEC.serving.model_dump() | {"kv_cache_fraction": 0.5}
    spec.write_text(dump_spec(SPEC.replaced(limits=limits, serving=serving_part)))

    assert done_before(tools.build(spec, output)) == ["download", "convert", "compile"]


class Silence:
    """A Board that nobody looks at."""

    def started(self, stage: str) -> None: ...
    def said(self, stage: str, line: str) -> None: ...
    def moved(self, stage: str, done_bytes: int, total_bytes: int) -> None: ...
    def finished(self, stage: str, seconds: float) -> None: ...
    def skipped(self, stage: str) -> None: ...


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    tools: Toolchain, output: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolbox = Toolbox(
        python=str(tools.folder / "bin" / "python3"), examples=tools.folder / "examples"
    )
    monkeypatch.setenv("PYTHONPATH", str(tools.folder / "site"))
    place = Place(output / "repository")
    build = Build(SPEC, output, place, toolbox, Silence(), output / "hf", lambda folder: 5 * 10**9)

    with pytest.raises(BuildError, match=r"has 5\.0 GB free, and the build writes 8\.\d GB there"):
        run_build(build, Choice())
    with pytest.raises(BuildError, match=r"writes 2\.6 GB"):
        run_build(replace(build, free_bytes=lambda folder: 10**9), Choice(only="download"))

    assert hub.fetched == []


def test_a_model_is_quantized_with_the_texts_that_are_pinned_and_fetches_no_others(
    tools: Toolchain, output: Path, tmp_path: Path, hub: Hub
) -> None:
    texts = tmp_path / "cnn_dailymail"
    texts.mkdir()
    (texts / "train.jsonl").write_text('{"article": "One."}\n')
    calibration = {"path": str(texts), "sha256": digest(texts)}
    quantized = SPEC.replaced(quantization={"weights": "fp8", "calibration": calibration})
    path = tmp_path / "quantized.yaml"
    path.write_text(dump_spec(quantized))

    result = tools.build(path, output)
    (texts / "train.jsonl").write_text('{"article": "Another."}\n')
    again = tools.build(path, output, "--from", "download")

    assert result.returncode == 0, result.stderr
    (log,) = (output / "logs").glob("convert-*.log")
    line = log.read_text().splitlines()[0]
    assert "--calib_dataset" in line and "/calibration/cnn_dailymail " in line
    assert again.returncode == 1
    assert "quantization.calibration.sha256" in again.stderr
    assert not any("cnn" in name for name in hub.fetched)
