"""A model config becomes a deployment, or an error that names the parameter."""

import json
from pathlib import Path
from typing import Any

import pytest
from backend.contract import Limits
from backend.deployment import Deployment, Misconfigured


def config(**parameters: str) -> str:
    values: dict[str, Any] = {"engine": "simulated", "max_seq_len": "128", **parameters}
    return json.dumps(
        {
            "max_batch_size": 16,
            "input": [],
            "dynamic_batching": {"default_queue_policy": {"max_queue_size": 4}},
            "parameters": {name: {"string_value": value} for name, value in values.items()},
        }
    )


def test_everything_is_read_and_unset_parameters_take_defaults() -> None:
    unset = {"exclude_input_in_output": "${exclude_input_in_output}"}

    deployment = Deployment.read(Path("folder"), config(**unset))

    assert deployment == Deployment(
        folder=Path("folder"),
        engine="simulated",
        limits=Limits(max_seq_len=128, exclude_input=False),
        max_num_seqs=16,
        max_queue_size=4,
        reuses_kv_cache=True,
        vocab_size=0,
        num_senders=0,
    )


def test_flags_are_read_in_any_case() -> None:
    flags = {"exclude_input_in_output": "True", "enable_kv_cache_reuse": "false"}

    deployment = Deployment.read(Path("folder"), config(**flags))

    assert (deployment.limits.exclude_input, deployment.reuses_kv_cache) == (True, False)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"max_seq_len": "${max_seq_len}"}, "max_seq_len"),
        ({"max_seq_len": "many"}, "max_seq_len"),
        ({"enable_kv_cache_reuse": "maybe"}, "enable_kv_cache_reuse"),
    ],
    ids=["unset", "not a number", "not a flag"],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, str], name: str) -> None:
    with pytest.raises(Misconfigured, match=f"'{name}'"):
        Deployment.read(Path("folder"), config(**parameters))


def test_an_unknown_engine_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="'tensorrt'"):
        Deployment.read(tmp_path, config(engine="tensorrt")).load_engine()


def test_adapters_can_be_had_where_the_model_takes_their_path() -> None:
    given = json.loads(config())
    given["input"] = [{"name": "input_ids"}, {"name": "lora_path"}]

    assert Deployment.read(Path("folder"), json.dumps(given)).limits.has_adapters
