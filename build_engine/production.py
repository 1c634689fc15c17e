"""The model repository that serves an engine with TensorRT-LLM. Compiles nothing."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from build_engine.artifacts import read_json
from build_engine.drafts import as_parameter
from build_engine.files import place as put
from build_engine.grammar import tokenizer_info
from build_engine.manifest import Manifest, ModelFacts, describe, tool_versions
from build_engine.outcome import EngineFacts, expected_facts
from build_engine.progress import Progress
from build_engine.sampling import advised, as_defaults
from build_engine.spec import EngineSpec, dump_spec
from build_engine.templates import fill, templates_folder, variables_of
from build_engine.tensors import fit
from build_engine.weights import TokenizerFolder

ENGINE = "tensorrt_llm"
MODELS = ("ensemble", "postprocessing", "preprocessing", "tensorrt_llm")
VERSION = "tensorrt_llm/1"
TOKENIZER = "tensorrt_llm/tokenizer"
GRAMMAR = "tensorrt_llm/xgrammar_tokenizer_info.json"
SPEC_FILE = "engine.yaml"
GATEWAY_FILE = "gateway.yaml"
# Left for the backend to decide: what belongs to other models or to engines in Python; and sizes of
# which the default is all there is.
UNSET = frozenset(
    {
        "encoder_engine_dir",
        "cross_kv_cache_fraction",
        "max_tokens_in_paged_kv_cache",
        "max_attention_window_size",
        "sink_token_length",
        "gpu_device_ids",
        "participant_ids",
        "iter_stats_max_iterations",
        "request_stats_max_iterations",
        "lora_prefetch_dir",
        "medusa_choices",
        "engine",
        "num_senders",
        "tokenizer_sha256",
    }
)


@dataclass(frozen=True)
class Place:
    """Where a repository is when Triton reads it, and where the gateway finds Triton."""

    mount: Path
    triton: str = "127.0.0.1:8001"


def variables(spec: EngineSpec, place: Place, facts: EngineFacts | None = None) -> dict[str, str]:
    """Return a value for every variable of the templates that is not in `UNSET`, or that the
    features of this spec leave out; by the facts of its engine, or those to be expected."""
    limits, serving = spec.limits, spec.serving
    facts = facts or expected_facts(spec)
    return {
        "triton_backend": "tensorrtllm",
        "triton_max_batch_size": str(limits.max_batch_size),
        "decoupled_mode": "True",
        "max_queue_delay_microseconds": "0",
        "max_queue_size": str(serving.max_queue_size),
        "engine_dir": str(place.mount / VERSION),
        "tokenizer_dir": TOKENIZER,
        "batching_strategy": "inflight_fused_batching",
        "batch_scheduler_policy": serving.scheduler,
        "max_beam_width": str(limits.max_beam_width),
        "max_seq_len": str(limits.max_seq_len),
        "kv_cache_free_gpu_mem_fraction": f"{serving.kv_cache_fraction:g}",
        "kv_cache_host_memory_bytes": str(serving.kv_cache_host_bytes),
        "kv_cache_onboard_blocks": "true",
        "enable_kv_cache_reuse": _flag(serving.kv_cache_reuse),
        "enable_chunked_context": _flag(serving.chunked_context),
        "exclude_input_in_output": "true",
        "normalize_log_probs": "true",
        "gpu_weights_percent": "1.0",
        "multi_block_mode": "true",
        "enable_context_fmha_fp32_acc": "false",
        "cuda_graph_mode": "false",
        "cuda_graph_cache_size": "0",
        "cancellation_check_period_ms": "100",
        "stats_check_period_ms": "100",
        "recv_poll_period_ms": "0",
        "speculative_decoding_fast_logits": "false",
        "logits_datatype": facts.logits,
        "tokens_per_block": str(facts.tokens_per_block),
        "num_nodes": str(spec.parallel.num_hosts),
        "encoder_input_features_data_type": "TYPE_FP16",
        "prompt_embedding_table_data_type": "TYPE_FP16",
        "preprocessing_instance_count": str(serving.preprocessing_instances),
        "add_special_tokens": "true",
        "skip_special_tokens": "true",
        **_decoding(spec),
        **_lora(spec),
        **_grammar(spec, place),
    }


def configs(spec: EngineSpec, place: Place, facts: EngineFacts | None = None) -> dict[str, str]:
    """Return the filled-in config.pbtxt of every model, by its path in the repository."""
    folder = templates_folder()
    templates = {f"{model}/config.pbtxt": folder / model / "config.pbtxt" for model in MODELS}
    fitted = {
        name: fit(path.parent.name, path.read_text(encoding="utf-8"), spec.release)
        for name, path in templates.items()
    }
    known = variables_of(fitted.values())
    wanted = variables(spec, place, facts)
    values = {name: value for name, value in wanted.items() if name in known}
    return fill(fitted, values)


def gateway_file(spec: EngineSpec, place: Place, tokenizer: Path) -> str:
    """Return the models file for the gateway; its tokenizer is relative to it.

    `tokenizer` is the folder that may advise how to sample.
    """
    entry = {
        "id": spec.model.name,
        "tokenizer": TOKENIZER,
        "triton": {"address": place.triton, "model": "tensorrt_llm"},
        "template": spec.shape.template,
        "max_model_len": spec.limits.max_seq_len,
        **as_defaults(advised(tokenizer)),
    }
    return yaml.safe_dump({"models": [entry]}, sort_keys=False)


def facts_of(spec: EngineSpec, engine: Path) -> EngineFacts:
    """Return the facts in the config.json of an engine's folder."""
    return EngineFacts.read(read_json(engine / "config.json") or {}, spec)


def write_models(
    spec: EngineSpec, place: Place, tokenizer: Path, engine: Path, folder: Path
) -> None:
    """Write everything but the engine. Raises BuildError where the tokenizer cannot serve."""
    for model in ("preprocessing", "postprocessing"):
        code = templates_folder() / model / "1"
        shutil.copytree(code, folder / model / "1", ignore=shutil.ignore_patterns("__pycache__"))
    for model in ("tensorrt_llm", "ensemble"):
        (folder / model / "1").mkdir(parents=True)
    for name, text in configs(spec, place, facts_of(spec, engine)).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / TOKENIZER).mkdir()
    TokenizerFolder.find(tokenizer).write_tokenizer(folder / TOKENIZER)
    if spec.is_guided:
        (folder / GRAMMAR).write_text(json.dumps(tokenizer_info(tokenizer)), encoding="utf-8")
    (folder / GATEWAY_FILE).write_text(gateway_file(spec, place, tokenizer), encoding="utf-8")
    (folder / SPEC_FILE).write_text(dump_spec(spec), encoding="utf-8")


def place_engine(engine: Path, folder: Path) -> None:
    """Put an engine's files where Triton looks for them, by link where the disk allows it."""
    for file in (engine / "config.json", *sorted(engine.glob("rank*"))):
        put(file, folder / VERSION / file.name)


def repository_inputs(spec: EngineSpec, place: Place, engine_key: str) -> dict[str, Any]:
    """Return everything that decides what a repository holds."""
    return {
        "builder": version("triton-openai-gateway"),
        "engine": engine_key,
        "spec": spec.model_dump(mode="json"),
        "mount": str(place.mount),
        "triton": place.triton,
    }


def write_manifest(
    spec: EngineSpec, folder: Path, inputs: Mapping[str, Any], progress: Progress
) -> None:
    """Write the manifest of a repository that is complete but for it."""
    files = describe(folder, progress)
    model = spec.model
    facts = ModelFacts(model.name, model.id, model.revision, spec.limits.max_seq_len)
    Manifest(ENGINE, facts, inputs, files, tool_versions()).write(folder)


def _decoding(spec: EngineSpec) -> dict[str, str]:
    speculative = spec.speculative
    if speculative.mode == "lookahead":
        return {
            "decoding_mode": "lookahead",
            "lookahead_window_size": str(speculative.window),
            "lookahead_ngram_size": str(speculative.ngram),
            "lookahead_verification_set_size": str(speculative.verification_set),
        }
    if speculative.mode == "eagle":
        tree = as_parameter(speculative.eagle_choices)
        return {"decoding_mode": "eagle", **({"eagle_choices": tree} if tree else {})}
    return {"decoding_mode": "beam_search" if spec.limits.max_beam_width > 1 else "top_k_top_p"}


def _lora(spec: EngineSpec) -> dict[str, str]:
    if spec.lora is None:
        return {}
    return {
        "lora_cache_optimal_adapter_size": str(min(8, spec.lora.max_rank)),
        "lora_cache_max_adapter_size": str(spec.lora.max_rank),
        "lora_cache_gpu_memory_fraction": f"{spec.lora.cache_fraction:g}",
        "lora_cache_host_memory_bytes": str(spec.lora.cache_host_bytes),
    }


def _grammar(spec: EngineSpec, place: Place) -> dict[str, str]:
    if not spec.is_guided:
        return {}
    return {
        "guided_decoding_backend": "xgrammar",
        "xgrammar_tokenizer_info_path": str(place.mount / GRAMMAR),
    }


def _flag(value: bool) -> str:
    return str(value).lower()
