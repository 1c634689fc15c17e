"""The templates' tensors as a release of TensorRT-LLM has them. Fills in no variables.

The templates are those of 1.2. Read in config.pbtxt of tensorrtllm_backend v0.9.0 to v0.19.0 and
of TensorRT-LLM's triton_backend from 0.20.0 on.
"""

import re
from collections.abc import Mapping

from build_engine.versions import Release

# Tensors by the first release that has them; those not listed are in all.
_SINCE: Mapping[str, str] = {
    name: since
    for since, names in {
        "0.10.0": (
            "draft_acceptance_threshold runtime_top_p_min runtime_top_p_decay "
            "runtime_top_p_reset_ids early_stopping beam_search_diversity_rate"
        ),
        "0.11.0": "decoder_input_ids decoder_input_lengths",
        "0.12.0": "batch_index",
        "0.13.0": "prompt_table_extra_ids",
        "0.14.0": (
            "num_return_sequences exclude_input_in_output context_phase_params sequence_index"
        ),
        "0.15.0": "encoder_input_features encoder_output_lengths cross_attention_mask",
        "0.16.0": (
            "skip_cross_attn_blocks return_perf_metrics kv_cache_alloc_new_blocks "
            "kv_cache_reused_blocks kv_cache_alloc_total_blocks"
        ),
        "0.17.0": (
            "retention_token_range_starts retention_token_range_ends "
            "retention_token_range_priorities retention_token_range_durations_ms "
            "retention_decode_priority retention_decode_duration_ms"
        ),
        "0.19.0": (
            "mrope_rotary_cos_sin mrope_position_deltas "
            "guided_decoding_guide_type guided_decoding_guide lookahead_window_size "
            "lookahead_ngram_size lookahead_verification_set_size arrival_time_ns "
            "first_scheduled_time_ns first_token_time_ns last_token_time_ns acceptance_rate "
            "total_accepted_draft_tokens total_draft_tokens"
        ),
        "0.21.0": (
            "return_num_input_tokens return_num_output_tokens num_input_tokens num_output_tokens"
        ),
    }.items()
    for name in names.split()
}
# What a tensor was called, and until which release.
_RENAMED: Mapping[str, tuple[str, str]] = {
    "seed": ("random_seed", "0.20.0"),
    "min_tokens": ("min_length", "0.20.0"),
    "return_perf_metrics": ("return_kv_cache_reuse_stats", "0.19.0"),
}
_RESHAPED_IN_0_12 = ("request_output_len", "stop", "streaming")
_PARAMETERS_SINCE: Mapping[str, str] = {
    "cross_kv_cache_fraction": "0.14.0",
    "guided_decoding_backend": "0.19.0",
    "xgrammar_tokenizer_info_path": "0.19.0",
    "tokenizer_dir": "0.19.0",
    "lookahead_window_size": "0.19.0",
    "lookahead_ngram_size": "0.19.0",
    "lookahead_verification_set_size": "0.19.0",
}
_LIST = re.compile(r"^(?P<head>(?:input|output) \[\n)(?P<body>.*?)^\]\n", re.MULTILINE | re.DOTALL)
_TENSOR = re.compile(r'^  \{\n    name: "(\w+)"\n(?:    .*\n)*?  \}', re.MULTILINE)
_RESHAPE = re.compile(r"^    reshape: .*\n", re.MULTILINE)
_PARAMETER = re.compile(r'^parameters: \{\n  key: "(\w+)"\n.*\n\}\n', re.MULTILINE)
_MAPPING = re.compile(r'^ +(in|out)put_map \{ key: "(\w+)" value: "(\w+)" \}\n', re.MULTILINE)


def fit(model: str, template: str, release: Release) -> str:
    """Return a model's config template with the tensors and parameters that a release has."""
    if model == "tensorrt_llm":
        fitted = _LIST.sub(lambda found: _tensors(found, release, frozenset()), template)
        return _PARAMETER.sub(lambda found: _parameter(found, release), fitted)
    if model == "ensemble":
        return _ensemble(template, release)
    if model == "postprocessing" and not has_tensor("sequence_index", release):
        dropped = frozenset({"SEQUENCE_INDEX"})
        return _LIST.sub(lambda found: _tensors(found, release, dropped), template)
    return template


def has_tensor(name: str, release: Release) -> bool:
    """Tell whether `tensorrt_llm` has a tensor, named as in 1.2."""
    return release.has(_SINCE.get(name, "0"))


def name_in(release: Release, name: str) -> str:
    """Return what a release calls a tensor that 1.2 calls `name`."""
    older, since = _RENAMED.get(name, (name, "0"))
    return name if release.has(since) else older


def _tensors(found: re.Match[str], release: Release, dropped: frozenset[str]) -> str:
    kept = [
        _tensor(tensor[0], tensor[1], release)
        for tensor in _TENSOR.finditer(found["body"])
        if has_tensor(tensor[1], release) and tensor[1] not in dropped
    ]
    return found["head"] + ",\n".join(kept) + "\n]\n"


def _tensor(block: str, name: str, release: Release) -> str:
    if name in _RESHAPED_IN_0_12 and not release.has("0.12.0"):
        block = _RESHAPE.sub("", block)
    return block.replace(f'"{name}"', f'"{name_in(release, name)}"', 1)


def _parameter(found: re.Match[str], release: Release) -> str:
    return found[0] if release.has(_PARAMETERS_SINCE.get(found[1], "0")) else ""


def _ensemble(template: str, release: Release) -> str:
    """Drop what is mapped to tensors that are not there, at both ends of the mapping."""
    lost = frozenset(
        outer
        for _, inner, outer in _MAPPING.findall(template)
        if not has_tensor(inner, release) or not has_tensor(outer, release)
    )
    fitted = _LIST.sub(lambda found: _tensors(found, release, lost), template)
    return _MAPPING.sub(lambda found: _mapping(found, release, lost), fitted)


def _mapping(found: re.Match[str], release: Release, lost: frozenset[str]) -> str:
    line, _, inner, outer = found[0], *found.groups()
    if outer in lost:
        return ""
    for name in {inner, outer}:
        line = line.replace(f'"{name}"', f'"{name_in(release, name)}"')
    return line
