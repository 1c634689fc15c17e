"""What Triton can check of a production repository on a CPU: every config, with only the backend
of `tensorrt_llm` swapped. TensorRT-LLM itself is not run here; see tests/stand_ins."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc

from build_engine.look_models import look_at
from build_engine.production import Place, configs
from build_engine.spec import EngineSpec, SpecError, load_spec
from build_engine.versions import RELEASES
from gateway.embedded.platform import Platform, PlatformUnsupported, check_platform
from gateway.embedded.tritonserver import TritonServer
from tests.integration.inference import CONTRACT
from tests.stand_ins.model import write_tokenizer
from tests.stand_ins.repository import write_repository

STAND_IN = Path(__file__).parents[1] / "stand_ins" / "backend.py"
SPEC = load_spec("llama-3.1-8b-h100-fp8")
VARIABLES = {
    "${logits_datatype}": "FP16",  # of an engine whose weights were quantized from bfloat16
    "${encoder_input_features_data_type}": "FP16",
    "${prompt_embedding_table_data_type}": "FP16",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        check_platform(Platform.detect())
    except PlatformUnsupported as refusal:
        pytest.skip(str(refusal))
    folder = tmp_path_factory.mktemp("production")
    write_tokenizer(folder, num_words=300)
    write_repository(SPEC, folder, folder / "models")
    swap_backend(folder / "models")
    return folder / "models"


@pytest.fixture(scope="module")
def triton(repository: Path, log_folder: Path) -> Iterator[TritonServer]:
    """Triton over the repository, its models loaded when told to."""
    arguments = ("--model-control-mode=explicit", "--strict-readiness=false")
    log_file = log_folder / "production.log"
    with TritonServer(repository, log_file=log_file, arguments=arguments) as server:
        server.wait_ready(60)
        yield server


@pytest.fixture(scope="module")
def stub(triton: TritonServer) -> Iterator[Any]:
    with grpc.insecure_channel(triton.grpc_address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def swap_backend(repository: Path) -> None:
    """Give `tensorrt_llm` a backend that a CPU has; all else of its config stays."""
    path = repository / "tensorrt_llm" / "config.pbtxt"
    text = path.read_text()
    assert text.count('backend: "tensorrtllm"') == 1
    path.write_text(text.replace('backend: "tensorrtllm"', 'backend: "python"'))
    shutil.copy(STAND_IN, repository / "tensorrt_llm" / "1" / "model.py")


def load(stub: Any, model: str) -> None:
    stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=model))


def described(tensor: Any) -> dict[str, Any]:
    """A tensor of Triton's ModelConfig in the words of the contract."""
    is_input = hasattr(tensor, "optional")
    entry = {
        "name": tensor.name,
        "data_type": service_pb2.model__config__pb2.DataType.Name(tensor.data_type)[5:],
        "dims": list(tensor.dims),
        "optional": is_input and tensor.optional,
        "allow_ragged_batch": is_input and tensor.allow_ragged_batch,
    }
    return entry | ({"reshape": list(tensor.reshape.shape)} if tensor.HasField("reshape") else {})


def expected(tensor: dict[str, Any]) -> dict[str, Any]:
    data_type = VARIABLES.get(tensor["data_type"], tensor["data_type"])
    return {"optional": False, "allow_ragged_batch": False, **tensor, "data_type": data_type}


def test_all_models_of_a_production_repository_load(stub: Any) -> None:
    load(stub, "ensemble")

    ready = {
        model.name: model.state
        for model in stub.RepositoryIndex(service_pb2.RepositoryIndexRequest()).models
    }
    assert ready == dict.fromkeys(
        ["ensemble", "postprocessing", "preprocessing", "tensorrt_llm"], "READY"
    )


def test_its_model_config_is_the_contract(stub: Any, repository: Path) -> None:
    load(stub, "tensorrt_llm")

    config = stub.ModelConfig(service_pb2.ModelConfigRequest(name="tensorrt_llm")).config

    assert [described(tensor) for tensor in config.input] == list(map(expected, CONTRACT["inputs"]))
    assert [described(tensor) for tensor in config.output] == list(
        map(expected, CONTRACT["outputs"])
    )
    assert config.model_transaction_policy.decoupled
    assert config.max_batch_size == SPEC.limits.max_batch_size
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    assert parameters["gpt_model_path"] == f"{repository}/tensorrt_llm/1"
    assert parameters["guided_decoding_backend"] == "xgrammar"
    assert parameters["exclude_input_in_output"] == "true"


def test_a_triton_that_runs_is_told_in_plain_words(stub: Any, triton: TritonServer) -> None:
    load(stub, "ensemble")

    found = look_at(f"http://{triton.http_address}")

    told = {kind: "\n".join(f.text for f in found if f.kind == kind) for kind in ("is", "can")}
    assert "Triton 2." in told["is"] and "the TensorRT-LLM backend" in told["is"]
    assert "built by 1.2.1" in told["is"] and "weights in FP8, KV cache in FP8" in told["is"]
    assert "tensorrt_llm: stream" in told["can"]
    assert [f.text for f in found if f.kind == "wrong"] == []


@st.composite
def specs(draw: st.DrawFn) -> EngineSpec:
    """A spec that validates, in what its configs depend on."""
    input_len = draw(st.integers(1, 4000))
    batch = draw(st.sampled_from([1, 7, 128, 2048]))
    paged = draw(st.booleans())
    changes: dict[str, Any] = {
        "tensorrt_llm": draw(st.sampled_from([r.number for r in RELEASES if r.has("0.12.0")])),
        "limits": {
            "max_batch_size": batch,
            "max_input_len": input_len,
            "max_seq_len": input_len + draw(st.integers(1, 4000)),
            "max_num_tokens": max(batch * 2, input_len),
            "max_beam_width": draw(st.sampled_from([1, 2])),
        },
        "plugins": {"paged_context_fmha": paged},
        "serving": {
            "kv_cache_reuse": paged,
            "chunked_context": paged,
            "kv_cache_fraction": draw(st.floats(0.01, 1.0)),
            "max_queue_size": draw(st.integers(0, 1000)),
            "scheduler": draw(st.sampled_from(["guaranteed_no_evict", "max_utilization"])),
            "guided_decoding": draw(st.sampled_from(["auto", "none"])),
            "preprocessing_instances": 1,
        },
        "speculative": draw(st.sampled_from([{}, {"mode": "lookahead"}])),
        "lora": draw(st.sampled_from([None, {"modules": ["attn_q"]}])),
    }
    base = load_spec("llama-3.1-8b-h100-bf16")
    try:
        return base.replaced(**changes)
    except SpecError:
        return base.replaced(tensorrt_llm=changes["tensorrt_llm"])


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(spec=specs())
def test_configs_of_any_valid_spec_load_in_triton(
    stub: Any, repository: Path, spec: EngineSpec
) -> None:
    for name, text in configs(spec, Place(repository)).items():
        (repository / name).write_text(text)
    swap_backend(repository)

    load(stub, "ensemble")

    config = stub.ModelConfig(service_pb2.ModelConfigRequest(name="ensemble")).config
    assert config.max_batch_size == spec.limits.max_batch_size
