"""Real tritonservers over a real model and over the simulator, one of each per session."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from build_engine.repository import Repository, RepositorySpec, build
from build_engine.templates import render, templates_folder
from build_engine.vllm import VllmSpec
from gateway.embedded.platform import Platform, PlatformUnsupported, check_platform
from gateway.embedded.tritonserver import TritonServer
from tests.llm_api import llm_api_repository
from tests.shared_servers import await_servers, lasting

SCRIPT = Path(__file__).parents[1] / "data" / "simulator.json"
SIMULATED = {
    "triton_backend": "python",
    "triton_max_batch_size": "64",
    "decoupled_mode": "True",
    "max_queue_delay_microseconds": "0",
    "max_queue_size": "8",
    "exclude_input_in_output": "true",
    "logits_datatype": "TYPE_FP32",
    "encoder_input_features_data_type": "TYPE_FP16",
    "prompt_embedding_table_data_type": "TYPE_FP16",
    "preprocessing_instance_count": "1",
    "engine": "simulated",
    "max_seq_len": "2048",
}


@pytest.fixture(scope="session")
def openvino_repository(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Repository:
    """SmolLM2-135M-Instruct behind the contract of TensorRT-LLM, as build-engine writes it."""
    _require_platform()
    request.getfixturevalue("fetched_model")
    return build(RepositorySpec(engine="openvino", output=tmp_path_factory.mktemp("openvino")))


@pytest.fixture(scope="session")
def openvino_server(openvino_repository: Repository, log_folder: Path) -> Iterator[TritonServer]:
    """A server that runs the real model."""
    log_file = log_folder / "openvino.log"
    with lasting(TritonServer(openvino_repository.path, log_file=log_file)) as server:
        yield server


@pytest.fixture(scope="session")
def simulated_server(
    openvino_repository: Repository, tmp_path_factory: pytest.TempPathFactory, log_folder: Path
) -> Iterator[TritonServer]:
    """A server whose answers are in tests/data/simulator.json; at most 8 requests may wait."""
    repository = tmp_path_factory.mktemp("simulated")
    render(templates_folder(), repository, SIMULATED)
    Path(repository, "ensemble", "1").mkdir(exist_ok=True)
    shutil.copytree(openvino_repository.tokenizer_dir, repository / "tensorrt_llm" / "tokenizer")
    shutil.copy(SCRIPT, repository / "tensorrt_llm" / "1")
    with lasting(TritonServer(repository, log_file=log_folder / "simulated.log")) as server:
        yield server


@pytest.fixture(scope="session")
def llm_api_server(
    openvino_repository: Repository, tmp_path_factory: pytest.TempPathFactory, log_folder: Path
) -> Iterator[TritonServer]:
    """A server that answers by the same script, over the stand-in for TensorRT-LLM's LLM API."""
    folder = tmp_path_factory.mktemp("llm_api")
    tokenizer = openvino_repository.tokenizer_dir
    repository = llm_api_repository(folder, tokenizer, SCRIPT, queue=8)
    with lasting(TritonServer(repository, log_file=log_folder / "llm_api.log")) as server:
        yield server


@pytest.fixture(scope="session")
def vllm_repository(
    openvino_repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> Repository:
    """A scripted vLLM (tests/models/vllm) behind the contract, as build-engine writes it."""
    folder = tmp_path_factory.mktemp("vllm")
    model, python = folder / "model", folder / "python"
    shutil.copytree(openvino_repository.tokenizer_dir, model)
    (model / "config.json").write_text('{"max_position_embeddings": 8192}')
    scripted = Path(__file__).parents[1] / "models" / "vllm"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={scripted} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    vllm = VllmSpec(str(python), {"max_num_seqs": 64})
    return build(RepositorySpec("vllm", folder / "repository", model, vllm=vllm))


@pytest.fixture(scope="session")
def vllm_server(vllm_repository: Repository, log_folder: Path) -> Iterator[TritonServer]:
    """A server whose tokens are arithmetic, out of a process of vLLM's own."""
    with lasting(TritonServer(vllm_repository.path, log_file=log_folder / "vllm.log")) as server:
        yield server


@pytest.fixture(autouse=True)
def shared_servers_are_ready() -> None:
    """Wait for a shared server that died in an earlier test to be back."""
    await_servers()


@pytest.fixture(scope="session")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


def _require_platform() -> None:
    try:
        check_platform(Platform.detect())
    except PlatformUnsupported as reason:
        pytest.skip(str(reason))
