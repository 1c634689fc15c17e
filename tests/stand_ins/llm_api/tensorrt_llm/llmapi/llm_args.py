"""Arguments of an LLM, known by name at every depth, as upstream's strict pydantic models are.

Source: tensorrt_llm/llmapi/llm_args.py of 1.3: of
each class the fields that a spec of this project can reach, and those beside them.
"""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARGUMENTS = _names(
    "model tokenizer tokenizer_mode custom_tokenizer post_processor_hook skip_tokenizer_init "
    "trust_remote_code tensor_parallel_size dtype revision tokenizer_revision model_kwargs "
    "pipeline_parallel_size context_parallel_size gpus_per_node moe_cluster_parallel_size "
    "moe_tensor_parallel_size moe_expert_parallel_size enable_attention_dp "
    "enable_lm_head_tp_in_adp pp_partition cp_config load_format enable_lora lora_config "
    "kv_cache_config enable_chunked_prefill guided_decoding_backend batched_logits_processor "
    "iter_stats_max_iterations request_stats_max_iterations peft_cache_config scheduler_config "
    "cache_transceiver_config sparse_attention_config speculative_config max_batch_size "
    "max_input_len max_seq_len max_beam_width max_num_tokens gather_generation_logits "
    "num_postprocess_workers postprocess_tokenizer_dir reasoning_parser return_perf_metrics "
    "perf_metrics_max_requests orchestrator_type env_overrides backend cuda_graph_config "
    "attention_dp_config disable_overlap_scheduler moe_config nvfp4_gemm_config attn_backend "
    "sampler_type enable_iter_perf_stats enable_iter_req_stats print_iter_log "
    "torch_compile_config enable_autotuner stream_interval force_dynamic_quantization "
    "allreduce_strategy checkpoint_format"
)
PARTS: Mapping[str, frozenset[str]] = {
    "kv_cache_config": _names(
        "enable_block_reuse max_tokens max_attention_window sink_token_length "
        "free_gpu_memory_fraction host_cache_size onboard_blocks enable_partial_reuse "
        "copy_on_partial_reuse event_buffer_max_size dtype tokens_per_block max_gpu_total_bytes"
    ),
    "scheduler_config": _names(
        "capacity_scheduler_policy context_chunking_policy dynamic_batch_config"
    ),
    "cuda_graph_config": _names("batch_sizes max_batch_size enable_padding mode"),
    "moe_config": _names("backend max_num_tokens load_balancer"),
    "lora_config": _names(
        "lora_dir lora_ckpt_source max_lora_rank lora_target_modules "
        "trtllm_modules_to_hf_modules max_loras max_cpu_loras swap_gate_up_proj_lora_b_weight"
    ),
    "peft_cache_config": _names("host_cache_size device_cache_percent num_host_module_layer"),
}
_DRAFTING = _names(
    "decoding_type max_draft_len speculative_model speculative_model_dir max_concurrency"
)
DRAFTERS: Mapping[str, frozenset[str]] = {
    "Eagle3": _DRAFTING
    | _names(
        "eagle3_one_model eagle3_layers_to_capture eagle3_model_arch use_dynamic_tree "
        "dynamic_tree_max_topK max_total_draft_tokens sa_config"
    ),
    "NGram": _DRAFTING | _names("max_matching_ngram_size is_keep_all is_use_oldest is_public_pool"),
    "Draft_Target": _DRAFTING,
    "MTP": _DRAFTING
    | _names(
        "num_nextn_predict_layers use_relaxed_acceptance_for_thinking relaxed_topk "
        "relaxed_delta use_mtp_vanilla mtp_eagle_one_model sa_config"
    ),
}
_NEEDS_MODEL = ("Eagle3", "Draft_Target")


def check(arguments: Mapping[str, Any]) -> SimpleNamespace:
    """The arguments as attributes. Raises ValueError for one that is not known, or is wrong."""
    for name in arguments.keys() - ARGUMENTS:
        raise ValueError(f"LLM got invalid argument: {name}")
    for part, known in PARTS.items():
        _check_part(part, arguments.get(part), known)
    drafting = arguments.get("speculative_config")
    if drafting is not None:
        _check_drafting(drafting)
    given = {"kv_cache_config": {}, "return_perf_metrics": False, **arguments}
    cache = SimpleNamespace(**{"tokens_per_block": 32, **given["kv_cache_config"]})
    return SimpleNamespace(**{**given, "kv_cache_config": cache})


def _check_part(name: str, part: Mapping[str, Any] | None, known: frozenset[str]) -> None:
    for field in (part or {}).keys() - known:
        raise ValueError(f"{name}.{field}: Extra inputs are not permitted")


def _check_drafting(part: Mapping[str, Any]) -> None:
    kind = part["decoding_type"]
    if kind not in DRAFTERS:
        raise ValueError(f"speculative_config.decoding_type: {kind} is no tag of the union")
    _check_part("speculative_config", part, DRAFTERS[kind])
    if kind != "MTP" and not part.get("max_draft_len", 0) > 0:
        raise ValueError(f"max_draft_len must be > 0 for {kind}")
    if kind in _NEEDS_MODEL and not (
        part.get("speculative_model") or part.get("speculative_model_dir")
    ):
        raise ValueError(f"speculative_model must be specified for {kind}")
