"""The model repository that serves a spec's model with our own Python model on the LLM API.

Behind the tensors of TensorRT-LLM 1.2, and some beside them; the only way that has them from
TensorRT-LLM 1.3 on. What NVIDIA's `llmapi` model does instead is in `build_engine.llmapi`.
"""

from pathlib import Path
from typing import Any

import yaml

from build_engine.errors import BuildError
from build_engine.files import replacing
from build_engine.llmapi import arguments, problems_of
from build_engine.own_tensors import Feature, declared
from build_engine.production import SPEC_FILE, TOKENIZER, VERSION, Place, gateway_file
from build_engine.repository import PYTHON_VARIABLES
from build_engine.spec import EngineSpec, dump_spec
from build_engine.templates import render, templates_folder
from build_engine.weights import TokenizerFolder

ENGINE = "llm_api"
ARGUMENTS = f"{VERSION}/llm.yaml"


def llm_yaml(spec: EngineSpec, model: Path | None = None) -> str:
    """Return 1/llm.yaml: the arguments of tensorrt_llm.LLM; `model` is a folder to take instead
    of the hub's weights. Raises BuildError for what it does not take from a spec."""
    if problems := list(problems_of(spec)):
        raise BuildError("\n".join(problems))
    content = arguments(spec)
    if spec.lora is not None:
        content = {**content, **_lora(spec, content)}
    if model is not None:
        content = {**content, "model": str(model.absolute())}
        content = {name: content[name] for name in content if not name.endswith("revision")}
    return yaml.safe_dump(content, sort_keys=False)


def config(spec: EngineSpec, text: str) -> str:
    """Return the config.pbtxt of the model: the template's, and what this engine has beside it."""
    has_adapters = spec.lora is not None or "lora_config" in spec.llm or "enable_lora" in spec.llm
    features: list[Feature] = ["log_probs", "lora"] if has_adapters else ["log_probs"]
    size = spec.shape.vocab
    parameter = f'parameters {{ key: "vocab_size" value {{ string_value: "{size}" }} }}\n'
    return declared(text, features) + parameter


def write_repository(
    spec: EngineSpec, output: Path, tokenizer: Path, triton: str, model: Path | None = None
) -> None:
    """Write the repository, and the gateway's file for it.

    Raises BuildError, also where `output` holds something else.
    """
    if output.exists() and any(output.iterdir()) and not (output / ARGUMENTS).is_file():
        raise BuildError(f"{output} is not a model repository built by this tool")
    content = llm_yaml(spec, model)
    place = Place(output.absolute(), triton)
    with replacing(output.absolute()) as staging:
        render(templates_folder(), staging, _variables(spec))
        (staging / "ensemble" / "1").mkdir(exist_ok=True)
        path = staging / "tensorrt_llm" / "config.pbtxt"
        path.write_text(config(spec, path.read_text(encoding="utf-8")), encoding="utf-8")
        (staging / ARGUMENTS).write_text(content, encoding="utf-8")
        (staging / TOKENIZER).mkdir()
        TokenizerFolder.find(tokenizer).write_tokenizer(staging / TOKENIZER)
        (staging / "gateway.yaml").write_text(
            gateway_file(spec, place, tokenizer), encoding="utf-8"
        )
        (staging / SPEC_FILE).write_text(dump_spec(spec), encoding="utf-8")


def _variables(spec: EngineSpec) -> dict[str, str]:
    shared = {
        name: value
        for name, value in PYTHON_VARIABLES.items()
        if name != "guided_decoding_backend" or spec.is_guided
    }
    return {
        **shared,
        "engine": ENGINE,
        "max_seq_len": str(spec.limits.max_seq_len),
        "triton_max_batch_size": str(spec.limits.max_batch_size),
        "max_queue_size": str(spec.serving.max_queue_size),
        "tokens_per_block": str(_tokens_per_block(spec)),
        "preprocessing_instance_count": str(spec.serving.preprocessing_instances),
    }


def _tokens_per_block(spec: EngineSpec) -> int:
    """32 unless the spec says otherwise: KvCacheConfig in llm_args.py."""
    return int(spec.llm.get("kv_cache_config", {}).get("tokens_per_block", 32))


def _lora(spec: EngineSpec, content: dict[str, Any]) -> dict[str, Any]:
    """LoraConfig and PeftCacheConfig; the names of modules are those of engines."""
    assert spec.lora is not None
    ours = {
        "lora_config": {
            "lora_target_modules": list(spec.lora.modules),
            "max_lora_rank": spec.lora.max_rank,
        },
        "peft_cache_config": {
            "host_cache_size": spec.lora.cache_host_bytes,
            "device_cache_percent": spec.lora.cache_fraction,
        },
    }
    for name in ours.keys() & content.keys():
        raise BuildError(f"llm.{name}: the spec's field lora decides it; change that")
    return ours
